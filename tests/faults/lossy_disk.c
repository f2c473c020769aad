/* A disk that loses what it takes, for a program that is started with this library preloaded.
 *
 * As long as the file $LOSSY_WHILE exists, what is written to the file $LOSSY_FILE is taken and not kept, and each sync
 * says so: once for each handle of the file and each time that something was lost, as Linux does (errseq_t). */

#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define HANDLES_MAX 4096

static atomic_int lost;
static atomic_int told[HANDLES_MAX];

static int is_the_file(int handle) {
    char link[64], path[4096];
    const char *file = getenv("LOSSY_FILE");
    if (file == NULL || handle >= HANDLES_MAX) return 0;
    snprintf(link, sizeof link, "/proc/self/fd/%d", handle);
    ssize_t length = readlink(link, path, sizeof path - 1);
    if (length < 0) return 0;
    path[length] = '\0';
    return strcmp(path, file) == 0;
}

static int is_to_lose(int handle) {
    const char *flag = getenv("LOSSY_WHILE");
    if (flag == NULL || access(flag, F_OK) != 0 || !is_the_file(handle)) return 0;
    atomic_fetch_add(&lost, 1);
    return 1;
}

ssize_t write(int handle, const void *bytes, size_t length) {
    static ssize_t (*real)(int, const void *, size_t);
    if (real == NULL) real = dlsym(RTLD_NEXT, "write");
    if (is_to_lose(handle)) {
        lseek(handle, (off_t)length, SEEK_CUR);
        return (ssize_t)length;
    }
    return real(handle, bytes, length);
}

ssize_t pwrite64(int handle, const void *bytes, size_t length, off64_t at) {
    static ssize_t (*real)(int, const void *, size_t, off64_t);
    if (real == NULL) real = dlsym(RTLD_NEXT, "pwrite64");
    return is_to_lose(handle) ? (ssize_t)length : real(handle, bytes, length, at);
}

static int sync_by(const char *name, int handle) {
    int (*real)(int) = dlsym(RTLD_NEXT, name);
    int now = atomic_load(&lost);
    if (is_the_file(handle) && atomic_exchange(&told[handle], now) != now) {
        errno = EIO;
        return -1;
    }
    return real(handle);
}

int fsync(int handle) { return sync_by("fsync", handle); }
int fdatasync(int handle) { return sync_by("fdatasync", handle); }
