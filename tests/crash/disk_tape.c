/* Records everything that a process does to the files below one folder: loaded by LD_PRELOAD.
 *
 * Every change (write, length, name) and every synchronisation goes to a tape, in the order in
 * which the kernel saw it, with its data. What a disk may hold after a power cut at any moment
 * follows from the tape alone (disk_model.py). Between two records of one process nothing is missing:
 * a change is made and recorded under one lock. A synchronisation is two records, since other
 * threads write while it runs; it covers what was recorded before its first.
 *
 * Environment: TAPE_ROOT the folder (absolute, no links), TAPE_FILE the tape (appended to),
 * TAPE_SYNC_US a pause within each synchronisation, TAPE_DROP_SYNC=1 a disk that lies: all
 * synchronisation succeeds and does nothing.
 *
 * The process may call tape_mark (a note on the tape) and tape_fault (an error, a short write or
 * the process's end at the nth operation).
 */

#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

enum kind {
	K_CREATE = 1, K_WRITE, K_LENGTH, K_SYNC, K_SYNCED, K_RENAME, K_UNLINK, K_MKDIR, K_RMDIR,
	K_MARK, K_MAPPED, K_FAULT, K_LINK, K_OPENED
};

enum { F_DURABLE = 1, F_FAILED = 2, F_GROWS_ONLY = 4 };

/* Operations that a fault can be put on: bits. */
enum { OP_WRITE = 1, OP_DURABLE_WRITE = 2, OP_SYNC = 4, OP_LENGTH = 8, OP_NAME = 16 };

/* Whoever dies within a synchronisation (or a durable write) has made nothing durable: what was
 * written is in the system's memory, and the next process sees it. */
enum mode { M_NONE, M_BEFORE, M_AFTER, M_SHORT, M_DIE_BEFORE, M_DIE_AFTER };

struct record {
	uint32_t kind, pid;
	uint64_t inode;
	int64_t offset, flags;
	uint32_t path_bytes, other_bytes;
	uint64_t data_bytes;
} __attribute__((packed));

#define MAX_FDS 65536

static struct { uint64_t inode; int flags; char tracked; } fds[MAX_FDS];
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static char root[PATH_MAX];
static size_t root_bytes;
static dev_t device;
static int tape = -1, drop_sync;
static long sync_us;
static struct { int ops, error, repeat; enum mode mode; long nth, seen; } fault;

static void broken(const char *what)
{
	dprintf(2, "disk_tape: %s: %s\n", what, strerror(errno));
	abort();
}

__attribute__((constructor)) static void begin(void)
{
	const char *where = getenv("TAPE_ROOT"), *file = getenv("TAPE_FILE");
	const char *pause = getenv("TAPE_SYNC_US"), *drop = getenv("TAPE_DROP_SYNC");
	struct stat found;

	if (!where || !file)
		return;
	root_bytes = strlen(where);
	if (root_bytes >= sizeof root)
		broken("TAPE_ROOT is too long");
	memcpy(root, where, root_bytes + 1);
	if (stat(where, &found))
		broken("TAPE_ROOT is no folder");
	device = found.st_dev;
	sync_us = pause ? atol(pause) : 0;
	drop_sync = drop && *drop == '1';
	tape = syscall(SYS_openat, AT_FDCWD, file, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
	if (tape < 0)
		broken("the tape cannot be opened");
}

static int below(const char *path)
{
	return tape >= 0 && !strncmp(path, root, root_bytes)
		&& (path[root_bytes] == '/' || !path[root_bytes]);
}

/* The absolute path of `path` as seen from `folder` (a descriptor or AT_FDCWD). */
static int absolute(int folder, const char *path, char *out)
{
	char link[64];
	ssize_t n;

	if (*path == '/') {
		snprintf(out, PATH_MAX, "%s", path);
		return 1;
	}
	if (folder == AT_FDCWD)
		snprintf(link, sizeof link, "/proc/self/cwd");
	else
		snprintf(link, sizeof link, "/proc/self/fd/%d", folder);
	n = readlink(link, out, PATH_MAX - 1);
	if (n < 0)
		return 0;
	snprintf(out + n, PATH_MAX - n, "/%s", path);
	return 1;
}

static void put(enum kind kind, uint64_t inode, int64_t offset, int64_t flags, const char *path,
	const char *other, const struct iovec *data, int parts, size_t data_bytes)
{
	struct record head = { kind, (uint32_t)getpid(), inode, offset, flags,
		path ? strlen(path) : 0, other ? strlen(other) : 0, data_bytes };
	struct iovec iov[3] = { { &head, sizeof head }, { (void *)path, head.path_bytes },
		{ (void *)other, head.other_bytes } };

	if (syscall(SYS_writev, tape, iov, 3) < 0)
		broken("the tape cannot be written");
	for (int i = 0; i < parts && data_bytes; i++) {
		const char *at = data[i].iov_base;
		size_t left = data[i].iov_len < data_bytes ? data[i].iov_len : data_bytes;

		data_bytes -= left;
		while (left) {
			ssize_t n = syscall(SYS_write, tape, at, left);
			if (n < 0)
				broken("the tape cannot be written");
			at += n;
			left -= n;
		}
	}
}

void tape_mark(const char *data, size_t bytes)
{
	struct iovec iov = { (void *)data, bytes };

	if (tape < 0)
		return;
	pthread_mutex_lock(&lock);
	put(K_MARK, 0, 0, 0, NULL, NULL, &iov, 1, bytes);
	pthread_mutex_unlock(&lock);
}

/* From now on the nth operation of the kinds `ops` (1 the next one) meets `mode`, and so do the
 * `repeat` ones after it. */
void tape_fault(int ops, long nth, int error, int mode, int repeat)
{
	pthread_mutex_lock(&lock);
	fault.ops = ops;
	fault.nth = nth;
	fault.error = error;
	fault.mode = mode;
	fault.repeat = repeat;
	fault.seen = 0;
	pthread_mutex_unlock(&lock);
}

/* How many operations of the kinds were met since the last tape_fault. */
long tape_seen(void)
{
	return fault.seen;
}

static void die(void)
{
	syscall(SYS_kill, getpid(), SIGKILL);
	for (;;)
		pause();
}

/* Whether this operation meets the fault; holds the lock. */
static enum mode meets(int op)
{
	if (!(fault.ops & op))
		return M_NONE;
	fault.seen++;
	if (fault.mode == M_NONE || fault.seen < fault.nth || fault.seen > fault.nth + fault.repeat)
		return M_NONE;
	put(K_FAULT, 0, fault.seen, fault.mode, NULL, NULL, NULL, 0, 0);
	if (fault.mode == M_DIE_BEFORE)
		die();
	return fault.mode;
}

static int fail(void)
{
	errno = fault.error;
	return -1;
}

/* Whether a descriptor is that of a file below the folder. Some are closed past us (closedir) and
 * their numbers given out again (pipe), so its file is compared. */
static int tracked(int fd)
{
	struct stat found;

	if (fd < 0 || fd >= MAX_FDS || !fds[fd].tracked)
		return 0;
	if (fstat(fd, &found) || found.st_ino != fds[fd].inode
	    || found.st_dev != device)
		fds[fd].tracked = 0;
	return fds[fd].tracked;
}

static int64_t length_of(int fd)
{
	struct stat found;

	return fstat(fd, &found) ? 0 : found.st_size;
}

/* ---- names ---- */

static int open_(int folder, const char *path, int flags, mode_t mode)
{
	char full[PATH_MAX], real[PATH_MAX], link[64];
	struct stat found;
	enum mode met = M_NONE;
	int fd, made = 0, inside, keep = errno;
	ssize_t n;

	if (tape < 0)
		return syscall(SYS_openat, folder, path, flags, mode);
	pthread_mutex_lock(&lock);
	inside = absolute(folder, path, full) && below(full);
	if (inside && (flags & O_CREAT)) {
		made = syscall(SYS_faccessat, folder, path, F_OK) != 0;
		if (made)
			met = meets(OP_NAME);
	}
	errno = keep;
	if (met == M_BEFORE || met == M_SHORT) {
		pthread_mutex_unlock(&lock);
		return fail();
	}
	fd = syscall(SYS_openat, folder, path, flags, mode);
	if (fd < 0 || fd >= MAX_FDS)
		goto out;
	fds[fd].tracked = 0;
	snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
	n = readlink(link, real, sizeof real - 1);
	if (n <= 0)
		goto out;
	real[n] = 0;
	if (!below(real) || fstat(fd, &found) || !(S_ISREG(found.st_mode) || S_ISDIR(found.st_mode)))
		goto out;
	fds[fd].tracked = 1;
	fds[fd].inode = found.st_ino;
	fds[fd].flags = flags;
	put(made ? K_CREATE : K_OPENED, found.st_ino, 0, 0, real, NULL, NULL, 0, 0);
	if (!made && (flags & O_TRUNC))
		put(K_LENGTH, found.st_ino, 0, 0, NULL, NULL, NULL, 0, 0);
out:
	if (met == M_DIE_AFTER)
		die();
	pthread_mutex_unlock(&lock);
	return fd;
}

#define MODE_OF(flags) \
	mode_t mode = 0; \
	if ((flags) & (O_CREAT | __O_TMPFILE)) { \
		va_list rest; \
		va_start(rest, flags); \
		mode = va_arg(rest, mode_t); \
		va_end(rest); \
	}

int open(const char *path, int flags, ...) { MODE_OF(flags) return open_(AT_FDCWD, path, flags, mode); }
int open64(const char *path, int flags, ...) { MODE_OF(flags) return open_(AT_FDCWD, path, flags, mode); }
int openat(int at, const char *path, int flags, ...) { MODE_OF(flags) return open_(at, path, flags, mode); }
int openat64(int at, const char *path, int flags, ...) { MODE_OF(flags) return open_(at, path, flags, mode); }
int creat(const char *path, mode_t mode) { return open_(AT_FDCWD, path, O_CREAT | O_WRONLY | O_TRUNC, mode); }
int creat64(const char *path, mode_t mode) { return creat(path, mode); }
int __open_2(const char *path, int flags) { return open_(AT_FDCWD, path, flags, 0); }
int __open64_2(const char *path, int flags) { return open_(AT_FDCWD, path, flags, 0); }
int __openat_2(int at, const char *path, int flags) { return open_(at, path, flags, 0); }
int __openat64_2(int at, const char *path, int flags) { return open_(at, path, flags, 0); }

int close(int fd)
{
	if (tracked(fd))
		fds[fd].tracked = 0;
	return syscall(SYS_close, fd);
}

static int same(int from, int to)
{
	if (tape >= 0 && to >= 0 && to < MAX_FDS && from >= 0 && from < MAX_FDS && from != to)
		fds[to] = fds[from];
	return to;
}

int dup(int fd) { return same(fd, syscall(SYS_dup, fd)); }
int dup3(int fd, int to, int flags) { return same(fd, syscall(SYS_dup3, fd, to, flags)); }
int dup2(int fd, int to) { return fd == to ? to : dup3(fd, to, 0); }

static int fcntl_(int fd, int what, long value)
{
	int result = syscall(SYS_fcntl, fd, what, value);

	return what == F_DUPFD || what == F_DUPFD_CLOEXEC ? same(fd, result) : result;
}

#define VALUE_OF(last) \
	va_list rest; \
	long value; \
	va_start(rest, last); \
	value = va_arg(rest, long); \
	va_end(rest);

int fcntl(int fd, int what, ...) { VALUE_OF(what) return fcntl_(fd, what, value); }
int fcntl64(int fd, int what, ...) { VALUE_OF(what) return fcntl_(fd, what, value); }

/* A change of names by the system call `number`. */
static int name_(enum kind kind, long number, int at, const char *path, int to_at, const char *to,
	long last)
{
	char full[PATH_MAX], other[PATH_MAX] = "";
	struct stat found = { 0 };
	enum mode met;
	int result;

#define CALL (to ? syscall(number, at, path, to_at, to, last) : syscall(number, at, path, last))
	if (tape < 0 || !absolute(at, path, full) || (to && !absolute(to_at, to, other))
	    || !(below(full) || (to && below(other))))
		return CALL;
	pthread_mutex_lock(&lock);
	met = meets(OP_NAME);
	if (met == M_BEFORE || met == M_SHORT) {
		pthread_mutex_unlock(&lock);
		return fail();
	}
	result = CALL;
	if (!result) {
		if (kind == K_MKDIR)
			fstatat(AT_FDCWD, full, &found, 0);
		put(kind, found.st_ino, 0, 0, full, to ? other : NULL, NULL, 0, 0);
		if (met == M_AFTER)
			result = fail();
	}
	if (met == M_DIE_AFTER)
		die();
	pthread_mutex_unlock(&lock);
	return result;
#undef CALL
}

int renameat2(int at, const char *path, int to_at, const char *to, unsigned flags)
{
	return name_(K_RENAME, SYS_renameat2, at, path, to_at, to, flags);
}
int renameat(int at, const char *path, int to_at, const char *to) { return renameat2(at, path, to_at, to, 0); }
int rename(const char *path, const char *to) { return renameat2(AT_FDCWD, path, AT_FDCWD, to, 0); }
int linkat(int at, const char *path, int to_at, const char *to, int flags)
{
	return name_(K_LINK, SYS_linkat, at, path, to_at, to, flags);
}
int link(const char *path, const char *to) { return linkat(AT_FDCWD, path, AT_FDCWD, to, 0); }
int unlinkat(int at, const char *path, int flags)
{
	return name_(flags & AT_REMOVEDIR ? K_RMDIR : K_UNLINK, SYS_unlinkat, at, path, 0, NULL, flags);
}
int unlink(const char *path) { return unlinkat(AT_FDCWD, path, 0); }
int rmdir(const char *path) { return unlinkat(AT_FDCWD, path, AT_REMOVEDIR); }
int mkdirat(int at, const char *path, mode_t mode)
{
	return name_(K_MKDIR, SYS_mkdirat, at, path, 0, NULL, mode);
}
int mkdir(const char *path, mode_t mode) { return mkdirat(AT_FDCWD, path, mode); }

/* ---- content ---- */

static ssize_t pwritev_all(int fd, const struct iovec *iov, int parts, int64_t offset, int moves)
{
	return moves ? syscall(SYS_writev, fd, iov, parts)
		: syscall(SYS_pwritev, fd, iov, parts, offset, 0);
}

/* offset < 0: at the descriptor's position, which moves. */
static ssize_t write_(int fd, const struct iovec *iov, int parts, int64_t offset)
{
	int moves = offset < 0, durable;
	size_t bytes = 0;
	enum mode met;
	ssize_t result;

	if (!tracked(fd))
		return pwritev_all(fd, iov, parts, offset, moves);
	for (int i = 0; i < parts; i++)
		bytes += iov[i].iov_len;
	durable = !drop_sync && (fds[fd].flags & (O_DSYNC | O_SYNC));
	pthread_mutex_lock(&lock);
	if (fds[fd].flags & O_APPEND)
		offset = length_of(fd);
	else if (moves)
		offset = lseek(fd, 0, SEEK_CUR);
	met = meets(durable ? OP_DURABLE_WRITE : OP_WRITE);
	if (met == M_BEFORE) {
		result = fail();
	} else if (met == M_SHORT) {
		struct iovec half = { iov[0].iov_base, (iov[0].iov_len + 1) / 2 };

		result = pwritev_all(fd, &half, 1, offset, moves);
	} else {
		result = pwritev_all(fd, iov, parts, offset, moves);
	}
	if (result > 0)
		put(K_WRITE, fds[fd].inode, offset,
			(durable && met != M_DIE_AFTER ? F_DURABLE : 0) | (met == M_AFTER ? F_FAILED : 0),
			NULL, NULL, iov, parts, result);
	if (met == M_DIE_AFTER)
		die();
	if (met == M_AFTER)
		result = fail();
	pthread_mutex_unlock(&lock);
	return result;
}

static ssize_t write_one(int fd, const void *data, size_t bytes, int64_t offset)
{
	struct iovec iov = { (void *)data, bytes };

	return write_(fd, &iov, 1, offset);
}

ssize_t write(int fd, const void *data, size_t bytes)
{
	return tracked(fd) ? write_one(fd, data, bytes, -1) : syscall(SYS_write, fd, data, bytes);
}
ssize_t pwrite(int fd, const void *data, size_t bytes, off_t offset) { return write_one(fd, data, bytes, offset); }
ssize_t pwrite64(int fd, const void *data, size_t bytes, off64_t offset) { return write_one(fd, data, bytes, offset); }
ssize_t writev(int fd, const struct iovec *iov, int parts) { return write_(fd, iov, parts, -1); }
ssize_t pwritev(int fd, const struct iovec *iov, int parts, off_t offset) { return write_(fd, iov, parts, offset); }
ssize_t pwritev64(int fd, const struct iovec *iov, int parts, off64_t offset) { return write_(fd, iov, parts, offset); }

/* Copies inside the kernel would pass by the tape: whoever wants one falls back to read and write. */
ssize_t sendfile(int to, int from, off_t *offset, size_t bytes)
{
	if (tracked(to)) {
		errno = EINVAL;
		return -1;
	}
	return syscall(SYS_sendfile, to, from, offset, bytes);
}
ssize_t sendfile64(int to, int from, off64_t *offset, size_t bytes) { return sendfile(to, from, offset, bytes); }
ssize_t copy_file_range(int from, off64_t *a, int to, off64_t *b, size_t bytes, unsigned flags)
{
	if (tracked(to)) {
		errno = EINVAL;
		return -1;
	}
	return syscall(SYS_copy_file_range, from, a, to, b, bytes, flags);
}

static int length_(int fd, int64_t length, int64_t flags)
{
	enum mode met;
	int result;

	pthread_mutex_lock(&lock);
	met = meets(OP_LENGTH);
	if (met == M_BEFORE || met == M_SHORT) {
		pthread_mutex_unlock(&lock);
		return fail();
	}
	result = flags & F_GROWS_ONLY ? syscall(SYS_fallocate, fd, 0, 0, length)
		: syscall(SYS_ftruncate, fd, length);
	if (!result) {
		put(K_LENGTH, fds[fd].inode, length, flags, NULL, NULL, NULL, 0, 0);
		if (met == M_DIE_AFTER)
			die();
		if (met == M_AFTER)
			result = fail();
	}
	pthread_mutex_unlock(&lock);
	return result;
}

int ftruncate(int fd, off_t length)
{
	return tracked(fd) ? length_(fd, length, 0) : syscall(SYS_ftruncate, fd, length);
}
int ftruncate64(int fd, off64_t length) { return ftruncate(fd, length); }
int truncate(const char *path, off_t length)
{
	int fd = open_(AT_FDCWD, path, O_WRONLY | O_CLOEXEC, 0), result, keep;

	if (fd < 0)
		return -1;
	result = ftruncate(fd, length);
	keep = errno;
	close(fd);
	errno = keep;
	return result;
}
int truncate64(const char *path, off64_t length) { return truncate(path, length); }

int fallocate(int fd, int mode, off_t offset, off_t bytes)
{
	if (!tracked(fd))
		return syscall(SYS_fallocate, fd, mode, offset, bytes);
	if (mode) {  /* holes and the like are not used by what is tested */
		errno = EOPNOTSUPP;
		return -1;
	}
	return length_(fd, offset + bytes, F_GROWS_ONLY);
}
int fallocate64(int fd, int mode, off64_t offset, off64_t bytes) { return fallocate(fd, mode, offset, bytes); }
int posix_fallocate(int fd, off_t offset, off_t bytes)
{
	int keep = errno, result = fallocate(fd, 0, offset, bytes) ? errno : 0;

	errno = keep;
	return result;
}
int posix_fallocate64(int fd, off64_t offset, off64_t bytes) { return posix_fallocate(fd, offset, bytes); }

/* ---- synchronisation ---- */

static int sync_(int fd, long number)
{
	static int64_t last;
	int64_t id;
	enum mode met;
	int result;

	if (!tracked(fd))
		return syscall(number, fd);
	if (drop_sync)
		return 0;
	pthread_mutex_lock(&lock);
	met = meets(OP_SYNC);
	id = (int64_t)getpid() << 32 | ++last;
	put(K_SYNC, fds[fd].inode, id, 0, NULL, NULL, NULL, 0, 0);
	pthread_mutex_unlock(&lock);
	if (sync_us) {
		struct timespec pause = { sync_us / 1000000, sync_us % 1000000 * 1000 };

		nanosleep(&pause, NULL);
	}
	result = met == M_NONE || met == M_DIE_AFTER ? syscall(number, fd) : fail();
	pthread_mutex_lock(&lock);
	if (met == M_DIE_AFTER)
		die();
	put(K_SYNCED, fds[fd].inode, id, result ? F_FAILED : 0, NULL, NULL, NULL, 0, 0);
	if (result)
		errno = fault.error;
	pthread_mutex_unlock(&lock);
	return result;
}

int fsync(int fd) { return sync_(fd, SYS_fsync); }
int fdatasync(int fd) { return sync_(fd, SYS_fdatasync); }

/* Both promise nothing that a power cut respects (see sync_file_range(2)): no record. */
int sync_file_range(int fd, off64_t offset, off64_t bytes, unsigned flags)
{
	return syscall(SYS_sync_file_range, fd, offset, bytes, flags);
}

void *mmap(void *address, size_t bytes, int protection, int flags, int fd, off_t offset)
{
	char link[64], path[PATH_MAX];
	ssize_t n;

	if (tracked(fd) && (flags & MAP_SHARED) && (protection & PROT_WRITE)) {
		snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
		n = readlink(link, path, sizeof path - 1);
		path[n > 0 ? n : 0] = 0;
		pthread_mutex_lock(&lock);
		put(K_MAPPED, fds[fd].inode, 0, 0, path, NULL, NULL, 0, 0);
		pthread_mutex_unlock(&lock);
	}
	return (void *)syscall(SYS_mmap, address, bytes, protection, flags, fd, offset);
}
void *mmap64(void *address, size_t bytes, int protection, int flags, int fd, off64_t offset)
{
	return mmap(address, bytes, protection, flags, fd, offset);
}
