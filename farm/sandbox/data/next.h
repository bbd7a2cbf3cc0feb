/* The function that a preloaded one stands before. */
#include <dlfcn.h>

#define EXPORT __attribute__((visibility("default")))

/* Some names have an older meaning as well, which an unversioned look-up may find. */
static inline void *next_of(const char *name, const char *version)
{
	void *found = version ? dlvsym(RTLD_NEXT, name, version) : NULL;

	return found ? found : dlsym(RTLD_NEXT, name);
}

#define NEXT_VERSION(name, version)                             \
	({                                                      \
		static __typeof__(name) *next_##name;           \
		if (!next_##name)                               \
			next_##name = next_of(#name, version);  \
		next_##name;                                    \
	})
#define NEXT(name) NEXT_VERSION(name, NULL)
