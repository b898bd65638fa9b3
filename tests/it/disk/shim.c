/* Stands between the daemon and its disk (LD_PRELOAD): notes what becomes of every byte and name, lets calls fail, and makes syncs slow.
 * It never changes what a call does, but for the faults that it is told to make, and for zeros: see extends_by_zeros.
 *
 * DISK_ROOT     the directory that has the data directory "data"; nothing else is looked at
 * DISK_CONTROL  a page of words, shared with the test; see disk/mod.rs for what they mean
 * DISK_LOG      where to note everything; see disk/image.rs for the form
 *
 * Rust's std, and sled over it, make these calls through libc, so they come by here. What rustix calls goes to the kernel directly and does not: the lock, free
 * space, and the ballast, which holds nothing. The data directory is never mapped into memory. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#define FDS 65536
#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

enum { OPEN = 1, WRITE, ZEROS, WRITTEN, SYNC, SYNCED, TRUNCATE, RENAME, UNLINK, MKDIR, FAILED };
enum { C_DELAY_MS, C_CALLS, C_PLACE, C_AT, C_ERRNO, C_FOR_EVER, C_SHORT, C_SEEN, C_HIT, C_DELAYED, C_LOADED };
enum { ON_WRITE = 1, ON_SYNC = 2, ON_NAME = 4 };
enum { ANYWHERE, JOURNAL, VIEW, ELSEWHERE };

struct record { uint32_t kind, fd; uint64_t id, offset, length; };

static char root[PATH_MAX], data[PATH_MAX];
static uint32_t *control;
static int log_fd = -1;
static uint64_t last_id;
static unsigned char place_of_fd[FDS]; /* 0: not ours; else 1 + its place */
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

__attribute__((constructor)) static void begin(void) {
    const char *at = getenv("DISK_ROOT"), *page = getenv("DISK_CONTROL"), *log = getenv("DISK_LOG");
    if (!at || !page) return;
    snprintf(root, sizeof root, "%s", at);
    snprintf(data, sizeof data, "%.4000s/data", at);
    int fd = REAL(open)(page, O_RDWR | O_CLOEXEC);
    control = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (fd < 0 || control == MAP_FAILED) abort();
    if (log) log_fd = REAL(open)(log, O_WRONLY | O_APPEND | O_CLOEXEC);
    if (log && log_fd < 0) abort();
    control[C_LOADED] = 1;
}

static uint32_t get(int word) { return __atomic_load_n(&control[word], __ATOMIC_SEQ_CST); }

/* The absolute path, if it is the data directory, in it, or what it is in. */
static int is_ours(const char *path, char *whole) {
    if (!control) return 0;
    if (path[0] == '/') snprintf(whole, PATH_MAX, "%s", path);
    else {
        char here[PATH_MAX];
        if (!getcwd(here, sizeof here)) return 0;
        snprintf(whole, PATH_MAX, "%.2000s/%.2000s", here, path);
    }
    size_t length = strlen(data);
    return strcmp(whole, root) == 0 || (strncmp(whole, data, length) == 0 && (whole[length] == 0 || whole[length] == '/'));
}

static int place(const char *path) {
    return strstr(path, "/data/journal") ? JOURNAL : strstr(path, "/data/view") ? VIEW : ELSEWHERE;
}

/* Whether this call fails now; errno says how then. */
static int fails(int call, int where) {
    if (!(get(C_CALLS) & call) || (get(C_PLACE) != ANYWHERE && (int)get(C_PLACE) != where)) return 0;
    uint32_t seen = __atomic_add_fetch(&control[C_SEEN], 1, __ATOMIC_SEQ_CST), at = get(C_AT);
    if (seen != at && !(get(C_FOR_EVER) && seen > at)) return 0;
    __atomic_add_fetch(&control[C_HIT], 1, __ATOMIC_SEQ_CST);
    errno = (int)get(C_ERRNO);
    return 1;
}

static void note(struct record head, const void *bytes, size_t length) {
    if (log_fd < 0) return;
    head.length = head.kind == ZEROS ? head.length : length;
    struct iovec parts[2] = {{&head, sizeof head}, {(void *)bytes, head.kind == ZEROS ? 0 : length}};
    size_t all = parts[0].iov_len + parts[1].iov_len;
    /* A log with a hole would prove nothing. */
    if (REAL(writev)(log_fd, parts, 2) != (ssize_t)all) abort();
}

static uint64_t note_alone(uint32_t kind, int fd, uint64_t id, uint64_t offset, const void *bytes, size_t length) {
    pthread_mutex_lock(&lock);
    if (!id) id = ++last_id;
    struct record head = {kind, (uint32_t)fd, id, offset, length};
    note(head, bytes, length);
    pthread_mutex_unlock(&lock);
    return id;
}

static int ours(int fd) { return control && fd >= 0 && fd < FDS && place_of_fd[fd]; }

static int opened(const char *path, int flags, mode_t mode) {
    char whole[PATH_MAX];
    if (!is_ours(path, whole)) return REAL(open)(path, flags, mode);
    if ((flags & O_CREAT) && fails(ON_NAME, place(whole))) return -1;
    pthread_mutex_lock(&lock);
    int fd = REAL(open)(path, flags, mode);
    if (fd >= 0 && fd < FDS) {
        place_of_fd[fd] = (unsigned char)(1 + place(whole));
        struct record head = {OPEN, (uint32_t)fd, ++last_id, (uint64_t)flags, 0};
        note(head, whole, strlen(whole));
    }
    pthread_mutex_unlock(&lock);
    return fd;
}

int open(const char *path, int flags, ...) {
    va_list rest;
    va_start(rest, flags);
    mode_t mode = flags & (O_CREAT | O_TMPFILE) ? va_arg(rest, mode_t) : 0;
    va_end(rest);
    return opened(path, flags, mode);
}

int open64(const char *path, int flags, ...) {
    va_list rest;
    va_start(rest, flags);
    mode_t mode = flags & (O_CREAT | O_TMPFILE) ? va_arg(rest, mode_t) : 0;
    va_end(rest);
    return opened(path, flags | O_LARGEFILE, mode);
}

int close(int fd) {
    if (fd >= 0 && fd < FDS) place_of_fd[fd] = 0;
    return REAL(close)(fd);
}

static int is_zero(const char *bytes, size_t count) { return count >= 4096 && bytes[0] == 0 && memcmp(bytes, bytes + 1, count - 1) == 0; }

/* Zeros at the end of a file become a hole: reads see no difference, and tests need not write 64 MiB for each start. */
static int extends_by_zeros(int fd, off_t offset, size_t count) {
    struct stat about;
    return fstat(fd, &about) == 0 && about.st_size == offset && ftruncate(fd, offset + (off_t)count) == 0;
}

static ssize_t write_at(int fd, const void *bytes, size_t count, off_t offset, int moves) {
    int fault = fails(ON_WRITE, place_of_fd[fd] - 1), why = errno;
    if (fault && (!get(C_SHORT) || count < 2)) return -1;
    if (fault) {
        /* A short write, and the next one fails. */
        count /= 2;
        __atomic_store_n(&control[C_AT], get(C_SEEN) + 1, __ATOMIC_SEQ_CST);
        __atomic_store_n(&control[C_SHORT], 0, __ATOMIC_SEQ_CST);
    }
    int zero = is_zero(bytes, count);
    uint64_t id = note_alone(zero ? ZEROS : WRITE, fd, 0, (uint64_t)offset, bytes, count);
    ssize_t done;
    if (zero && !moves && extends_by_zeros(fd, offset, count)) done = (ssize_t)count;
    else done = moves ? REAL(write)(fd, bytes, count) : REAL(pwrite)(fd, bytes, count, offset);
    note_alone(WRITTEN, fd, id, 0, NULL, 0);
    errno = why;
    return done;
}

ssize_t pwrite64(int fd, const void *bytes, size_t count, off64_t offset) {
    return ours(fd) ? write_at(fd, bytes, count, offset, 0) : REAL(pwrite)(fd, bytes, count, offset);
}

ssize_t write(int fd, const void *bytes, size_t count) {
    if (!ours(fd)) return REAL(write)(fd, bytes, count);
    int is_appending = fcntl(fd, F_GETFL) & O_APPEND;
    off_t offset = is_appending ? lseek(fd, 0, SEEK_END) : lseek(fd, 0, SEEK_CUR);
    return write_at(fd, bytes, count, offset, 1);
}

ssize_t writev(int fd, const struct iovec *parts, int count) {
    /* Nobody writes files so; if somebody began to, the log would miss it. */
    if (ours(fd)) abort();
    return REAL(writev)(fd, parts, count);
}

static int sync_file(int fd, int (*real)(int)) {
    if (!ours(fd)) return real(fd);
    if (fails(ON_SYNC, place_of_fd[fd] - 1)) {
        int why = errno;
        note_alone(FAILED, fd, 0, 0, NULL, 0);
        errno = why;
        return -1;
    }
    uint64_t id = note_alone(SYNC, fd, 0, 0, NULL, 0);
    uint32_t wait = get(C_DELAY_MS);
    if (place_of_fd[fd] - 1 == JOURNAL && wait > 0) {
        struct timespec time = {wait / 1000, (long)(wait % 1000) * 1000000};
        __atomic_add_fetch(&control[C_DELAYED], 1, __ATOMIC_SEQ_CST);
        nanosleep(&time, NULL);
        __atomic_sub_fetch(&control[C_DELAYED], 1, __ATOMIC_SEQ_CST);
    }
    int result = real(fd);
    if (result == 0) note_alone(SYNCED, fd, id, 0, NULL, 0);
    return result;
}

int fsync(int fd) { return sync_file(fd, REAL(fsync)); }
int fdatasync(int fd) { return sync_file(fd, REAL(fdatasync)); }

int ftruncate64(int fd, off64_t length) {
    if (!ours(fd)) return REAL(ftruncate)(fd, length);
    if (fails(ON_WRITE, place_of_fd[fd] - 1)) return -1;
    pthread_mutex_lock(&lock);
    int result = REAL(ftruncate)(fd, length);
    struct record head = {TRUNCATE, (uint32_t)fd, ++last_id, (uint64_t)length, 0};
    if (result == 0) note(head, NULL, 0);
    pthread_mutex_unlock(&lock);
    return result;
}

int rename(const char *from, const char *to) {
    char old[PATH_MAX], new[PATH_MAX], both[2 * PATH_MAX];
    if (!is_ours(from, old) || !is_ours(to, new)) return REAL(rename)(from, to);
    if (fails(ON_NAME, place(new))) return -1;
    pthread_mutex_lock(&lock);
    int result = REAL(rename)(from, to);
    size_t length = (size_t)snprintf(both, sizeof both, "%s%c%s", old, 0, new);
    struct record head = {RENAME, 0, ++last_id, 0, 0};
    if (result == 0) note(head, both, length);
    pthread_mutex_unlock(&lock);
    return result;
}

/* How names come and go. */
static int named(uint32_t kind, const char *path, int (*real)(const char *, mode_t), mode_t mode) {
    char whole[PATH_MAX];
    if (!is_ours(path, whole)) return real(path, mode);
    if (fails(ON_NAME, place(whole))) return -1;
    pthread_mutex_lock(&lock);
    int result = real(path, mode);
    struct record head = {kind, 0, ++last_id, 0, 0};
    if (result == 0) note(head, whole, strlen(whole));
    pthread_mutex_unlock(&lock);
    return result;
}

static int really_unlink(const char *path, mode_t unused) { (void)unused; return REAL(unlink)(path); }
static int really_rmdir(const char *path, mode_t unused) { (void)unused; return REAL(rmdir)(path); }

int unlink(const char *path) { return named(UNLINK, path, really_unlink, 0); }
int rmdir(const char *path) { return named(UNLINK, path, really_rmdir, 0); }
int mkdir(const char *path, mode_t mode) { return named(MKDIR, path, REAL(mkdir), mode); }

int unlinkat(int directory, const char *name, int flags) {
    char link[64], path[PATH_MAX], whole[PATH_MAX];
    if (directory == AT_FDCWD || name[0] == '/') return flags & AT_REMOVEDIR ? rmdir(name) : unlink(name);
    snprintf(link, sizeof link, "/proc/self/fd/%d", directory);
    ssize_t length = readlink(link, path, sizeof path - 1);
    if (length < 0) return -1;
    path[length] = 0;
    snprintf(whole, sizeof whole, "%.2000s/%.1000s", path, name);
    return flags & AT_REMOVEDIR ? rmdir(whole) : unlink(whole);
}
