"""mock's configuration format, read as literals and templates; nothing in it is executed.

A mock configuration file is Python that assigns to `config_opts`. Farm parses it and accepts
assignments of literals, the few methods that chroot files use, and `include`. Whatever could
run code (imports, other calls, conditionals, loops) is refused with its file and line.
"""

from __future__ import annotations

import ast
import copy
import operator
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from farm.errors import ConfigError

_OPERATORS: dict[type[ast.cmpop], Callable[[Any, Any], bool]] = {
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
    ast.In: lambda a, b: a in b,
    ast.NotIn: lambda a, b: a not in b,
    ast.Is: operator.is_,
    ast.IsNot: operator.is_not,
}


@dataclass
class MockFile:
    """What the files assigned: raw values, and the names of the options they touched."""

    options: dict[str, Any]
    touched: set[str] = field(default_factory=set)


def read_options(path: Path, defaults: Mapping[str, Any], aliases: Mapping[str, str]) -> MockFile:
    """The raw (unrendered) options after `path` and all it includes, on top of `defaults`.

    Raises ConfigError, with file and line, for what is not a plain assignment.
    """
    reader = _Reader(path.parent, aliases, MockFile(copy.deepcopy(dict(defaults))))
    reader.file(path)
    return reader.result


class _Reader:
    def __init__(self, directory: Path, aliases: Mapping[str, str], result: MockFile) -> None:
        self.directory = directory
        self.aliases = aliases
        self.result = result
        self.path = directory
        self.seen: set[Path] = set()

    def file(self, path: Path) -> None:
        resolved = path.resolve()
        if resolved in self.seen:  # mock takes the first inclusion only
            return
        self.seen.add(resolved)
        try:
            tree = ast.parse(path.read_text("utf-8"), filename=str(path))
        except SyntaxError as error:
            raise ConfigError(
                f"{path}:{error.lineno or 1}: not valid mock configuration", why=error.msg
            ) from error
        except FileNotFoundError as error:
            raise ConfigError(
                f"there is no chroot file {path}",
                hint="Is this the layer's directory? `farm -C DIR` works on another one;"
                " `farm config` says where farm looks.",
            ) from error
        except (OSError, ValueError, RecursionError, MemoryError) as error:
            raise ConfigError(f"{path} cannot be read", why=str(error)) from error
        outer, self.path = self.path, path
        try:
            for statement in tree.body:
                self.statement(statement)
        except RecursionError as error:
            raise ConfigError(f"{path}: an expression in it is nested too deeply") from error
        finally:
            self.path = outer

    def statement(self, node: ast.stmt) -> None:
        try:
            self.carry_out(node)
        except TypeError as error:  # a key that is a list, a comparison of unlike things
            raise self.refusal(node, f"this ({error})") from error

    def carry_out(self, node: ast.stmt) -> None:
        match node:
            case ast.Assign(targets=[ast.Subscript() as target]):
                self.assign(target, self.value(node.value))
            case ast.AugAssign(target=ast.Subscript() as target, op=ast.Add()):
                self.assign(target, self.joined(node, self.read(target), self.value(node.value)))
            case ast.Expr(value=ast.Call() as call):
                self.call(call)
            case ast.Expr(value=ast.Constant()) | ast.Pass():
                pass
            case _:
                raise self.refusal(node, _describe(node))

    def call(self, node: ast.Call) -> None:
        match node:
            case ast.Call(func=ast.Name(id="include"), args=[argument], keywords=[]):
                self.include(node, self.value(argument))
            case ast.Call(func=ast.Attribute(value=owner, attr=method), keywords=[]) if method in (
                "update",
                "append",
                "extend",
                "setdefault",
            ):
                self.method(node, owner, method, [self.value(item) for item in node.args])
            case _:
                raise self.refusal(node, f"the call of {ast.unparse(node.func)}()")

    def include(self, node: ast.AST, name: Any) -> None:
        if not isinstance(name, str):
            raise self.refusal(node, "an include() of something that is no file name")
        for base in (self.path.parent, self.directory, self.directory.parent):
            if (base / name).is_file():
                return self.file(base / name)
        raise ConfigError(
            f"{self.place(node)}: include({name!r}): there is no such file",
            hint=f"It is looked for beside {self.path.name} and in {self.directory}.",
        )

    def method(self, node: ast.AST, owner: ast.expr, method: str, values: list[Any]) -> None:
        container = self.read(owner)
        if isinstance(container, list) and len(values) == 1:
            if method == "append":
                container.append(values[0])
                return self.touch(owner, ())
            if method == "extend" and isinstance(values[0], (list, tuple)):
                container.extend(values[0])
                return self.touch(owner, ())
        if isinstance(container, dict):
            top = container is self.result.options
            if method == "update" and len(values) == 1 and isinstance(values[0], dict):
                pairs = {self.key(key, top): value for key, value in values[0].items()}
                container.update(pairs)
                return self.touch(owner, pairs)
            if method == "setdefault" and len(values) in (1, 2):
                key = self.key(values[0], top)
                container.setdefault(key, values[1] if len(values) == 2 else None)
                return self.touch(owner, (key,))
        raise self.refusal(node, f".{method}() of {ast.unparse(owner)} with these arguments")

    def assign(self, target: ast.Subscript, value: Any) -> None:
        container, key = self.read(target.value), self.value(target.slice)
        top = container is self.result.options
        if isinstance(container, dict) and isinstance(key, (str, int)):
            key = self.key(key, top)
            container[key] = copy.deepcopy(value)
            self.touch(target.value, (key,))
        elif (
            isinstance(container, list)
            and isinstance(key, int)
            and -len(container) <= key < len(container)
        ):
            container[key] = copy.deepcopy(value)
            self.touch(target.value, ())
        else:
            raise self.refusal(target, f"an assignment to {ast.unparse(target)}")

    def touch(self, owner: ast.expr, keys: Any) -> None:
        """Remember which top-level option was set."""
        while isinstance(owner, ast.Subscript):
            if isinstance(owner.value, ast.Name):
                self.result.touched.add(self.key(self.value(owner.slice), True))
                return
            owner = owner.value
        self.result.touched.update(keys)

    def key(self, key: Any, top: bool) -> Any:
        """The name under which an entry is kept; TypeError when it cannot be one."""
        if not isinstance(key, str) and (top or not isinstance(key, int)):
            raise TypeError(f"{key!r} is not the name of an option")
        return self.aliases.get(key, key) if top and isinstance(key, str) else key

    def read(self, node: ast.expr) -> Any:
        """The present value of `config_opts[…]…`."""
        match node:
            case ast.Name(id="config_opts"):
                return self.result.options
            case ast.Subscript(value=inner, slice=index):
                container, key = self.read(inner), self.value(index)
                top = container is self.result.options
                try:
                    return container[self.key(key, top)]
                except (LookupError, TypeError) as error:
                    raise ConfigError(
                        f"{self.place(node)}: {ast.unparse(node)} has no value at this point"
                    ) from error
            case _:
                raise self.refusal(node, ast.unparse(node))

    def value(self, node: ast.expr) -> Any:
        match node:
            case ast.Constant(value=str() | int() | float() | None):
                return node.value
            case ast.List():
                return [self.value(item) for item in node.elts]
            case ast.Tuple():
                return tuple(self.value(item) for item in node.elts)
            case ast.Dict():
                return {
                    self.value(self.some(key, node)): self.value(value)
                    for key, value in zip(node.keys, node.values, strict=True)
                }
            case ast.Subscript():
                return copy.deepcopy(self.read(node))
            case ast.Call(func=ast.Name(id="int" | "str" as name), args=[inner], keywords=[]):
                return self.converted(node, name, self.value(inner))
            case _:
                return self.operation(node)

    def operation(self, node: ast.expr) -> Any:
        """Sums of texts and lists, and the tests that mock's own templates make."""
        match node:
            case ast.BinOp(op=ast.Add()):
                return self.joined(node, self.value(node.left), self.value(node.right))
            case ast.UnaryOp(op=ast.USub(), operand=ast.Constant(value=int() | float() as number)):
                return -number
            case ast.UnaryOp(op=ast.Not()):
                return not self.value(node.operand)
            case ast.Compare(ops=[op], comparators=[right]):
                try:
                    return _OPERATORS[type(op)](self.value(node.left), self.value(right))
                except TypeError as error:
                    raise self.refusal(node, f"the comparison {ast.unparse(node)}") from error
            case ast.BoolOp():
                values = [self.value(item) for item in node.values]
                return all(values) if isinstance(node.op, ast.And) else any(values)
            case _:
                raise self.refusal(node, _describe(node))

    def some(self, node: ast.expr | None, parent: ast.AST) -> ast.expr:
        if node is None:
            raise self.refusal(parent, "a ** in a dictionary")
        return node

    def joined(self, node: ast.AST, left: Any, right: Any) -> Any:
        if isinstance(left, str) and isinstance(right, str):
            return left + right
        if isinstance(left, (list, tuple)) and isinstance(right, (list, tuple)):
            return type(left)((*left, *right))
        raise self.refusal(
            node, f"adding {type(right).__name__} to {type(left).__name__} (texts or lists only)"
        )

    def converted(self, node: ast.AST, name: str, value: Any) -> int | str:
        try:
            if isinstance(value, (str, int)):
                return int(value) if name == "int" else str(value)
        except ValueError:
            pass
        raise self.refusal(node, f"{name}() of {value!r}")

    def place(self, node: ast.AST) -> str:
        return f"{self.path}:{getattr(node, 'lineno', 1)}"

    def refusal(self, node: ast.AST, what: str) -> ConfigError:
        return ConfigError(
            f"{self.place(node)}: farm does not accept {what} in a chroot file",
            why="Chroot files are read, never executed: config_opts[…] = literal, +=, "
            "setdefault, update, append, extend and include are what they may hold.",
            hint="Write the value out as a literal; it may hold a Jinja2 template.",
        )


def _describe(node: ast.AST) -> str:
    names: dict[type[ast.AST], str] = {
        ast.Import: "an import",
        ast.ImportFrom: "an import",
        ast.If: "an if",
        ast.IfExp: "an if",
        ast.For: "a loop",
        ast.While: "a loop",
        ast.FunctionDef: "a function",
        ast.ClassDef: "a class",
        ast.With: "a with block",
        ast.Try: "a try block",
        ast.Delete: "a del",
        ast.JoinedStr: "an f-string",
        ast.Lambda: "a lambda",
        ast.ListComp: "a loop",
        ast.DictComp: "a loop",
        ast.SetComp: "a loop",
        ast.GeneratorExp: "a loop",
    }
    if isinstance(node, ast.Call):
        return f"the call of {ast.unparse(node.func)}()"
    text = ast.unparse(node).splitlines()[0]
    return f"{names.get(type(node), 'the expression')} ({text[:60]})"
