"""A real browser for the tests of pages: what it complains of, what it shows, what can be read."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Page, sync_playwright

CHROMIUM = Path("/usr/bin/chromium")
DESKTOP, PHONE = (1280, 860), (360, 740)

# What a policy forbids is told as an event; it has to be listened to before anything loads.
_LISTEN = """
window.violations = [];
document.addEventListener("securitypolicyviolation", (event) =>
  window.violations.push(`${event.violatedDirective} ${event.blockedURI} ${event.sample}`));
"""

# The contrast of every text with what is behind it (WCAG 2, relative luminance); what is
# transparent is laid over what is below it.
_CONTRASTS = """() => {
  const parse = (text) => {
    const found = text.match(/[\\d.]+/g).map(Number);
    return [found[0], found[1], found[2], found.length > 3 ? found[3] : 1];
  };
  const over = (top, below) =>
    [0, 1, 2].map((i) => top[i] * top[3] + below[i] * (1 - top[3])).concat(1);
  const light = (colour) => {
    const [r, g, b] = colour.slice(0, 3).map((v) => {
      v /= 255;
      return v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4;
    });
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const behind = (element) => {
    const layers = [];
    for (let each = element; each; each = each.parentElement) {
      if (each.tagName === "a" && each.querySelector("rect")) {
        layers.push(parse(getComputedStyle(each.querySelector("rect")).fill));
        continue;
      }
      const colour = getComputedStyle(each).backgroundColor;
      if (colour && colour !== "transparent") layers.push(parse(colour));
    }
    return layers.reverse().reduce((below, top) => over(top, below), [255, 255, 255, 1]);
  };
  const found = [];
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  const seen = new Set();
  while (walker.nextNode()) {
    const element = walker.currentNode.parentElement;
    if (!walker.currentNode.data.trim() || seen.has(element)) continue;
    seen.add(element);
    if (["SCRIPT", "STYLE", "NOSCRIPT", "title", "OPTION"].includes(element.tagName)) continue;
    const box = element.getBoundingClientRect();
    if (!box.width || !element.checkVisibility({ opacityProperty: true })) continue;
    const style = getComputedStyle(element);
    const back = behind(element);
    const ink = over(parse(element instanceof SVGElement ? style.fill : style.color), back);
    const [a, b] = [light(ink), light(back)].sort((x, y) => y - x);
    const where = `${element.tagName}.${element.getAttribute("class") || ""}`;
    found.push([(a + 0.05) / (b + 0.05), where,
      walker.currentNode.data.trim().slice(0, 40)]);
  }
  return found;
}"""


@dataclass
class Visit:
    """A page and everything the browser complained of while it was looked at."""

    page: Page
    complaints: list[str] = field(default_factory=list)

    def hear(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            self.complaints.append(f"{message.type}: {message.text} {message.location['url']}")

    def violations(self) -> list[str]:
        found: list[str] = self.page.evaluate("window.violations || []")
        return found

    def low_contrasts(self, least: float = 4.5) -> list[str]:
        """Texts that are hard to read, with their contrast."""
        found = self.page.evaluate(_CONTRASTS)
        assert found, "there is no text at all"
        return [f"{ratio:.2f} {where}: {text}" for ratio, where, text in found if ratio < least]

    def overflow(self) -> int:
        """How many pixels the page is wider than the window."""
        wide: int = self.page.evaluate("document.documentElement.scrollWidth - innerWidth")
        return wide


@contextlib.contextmanager
def chromium() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=str(CHROMIUM))
        try:
            yield browser
        finally:
            browser.close()


@contextlib.contextmanager
def visit(
    browser: Browser,
    address: str,
    *,
    size: tuple[int, int] = DESKTOP,
    scheme: str = "light",
    script: bool = True,
    quiet: bool = True,
) -> Iterator[Visit]:
    """Open a page. At the end the browser may not have complained of anything, if `quiet`."""
    context: BrowserContext = browser.new_context(
        viewport={"width": size[0], "height": size[1]},
        color_scheme=scheme,  # type: ignore[arg-type]
        java_script_enabled=script,
        reduced_motion="reduce",
    )
    try:
        if script:
            context.add_init_script(_LISTEN)
        page = context.new_page()
        page.set_default_timeout(40_000)
        seen = Visit(page)
        page.on("console", seen.hear)
        page.on("pageerror", lambda error: seen.complaints.append(f"page: {error}"))
        page.goto(address)
        yield seen
        if quiet:
            assert not seen.complaints, seen.complaints
            assert not script or seen.violations() == []
    finally:
        context.close()
