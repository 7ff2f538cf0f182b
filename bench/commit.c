/*
 * The floor under a durable commit: the system calls that authkeep's commit needs, one after the other, from C and with
 * no JSON in between. Lock (directory and owner record), look at the file and its second copy, a synced draft, a synced
 * second copy, the fence, the rename, the directory's sync, unlock.
 *
 *   commit <file>      and then on stdin, a line a round: how many commits
 *
 * The file must exist. Answers each line with the time that every commit took, in nanoseconds, on one line.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum { path_max = 4096, seal_bytes = 272 };

static char directory[path_max], target[path_max], copy[path_max], lock[path_max], owner[path_max];
static char draft[path_max], copy_draft[path_max];
static const char record[] = "{\"host\":\"localhost\",\"bootId\":\"00000000-0000-0000-0000-000000000000\",\"pidNamespace\":"
                             "\"pid:[4026531836]\",\"pid\":1,\"startTime\":\"1\",\"nonce\":\"00000000-0000\"}";

static void check(int ok, const char *what) {
  if (ok) return;
  perror(what);
  exit(1);
}

static void name(char *out, const char *prefix, const char *suffix) {
  check(snprintf(out, path_max, "%s%s", prefix, suffix) < path_max, "path");
}

/* Whole file and what identifies it; -1 where there is none. */
static ssize_t read_file(const char *path, char **bytes, struct stat *stat) {
  int fd = open(path, O_RDONLY | O_CLOEXEC);
  if (fd < 0 && errno == ENOENT) return -1;
  check(fd >= 0, path);
  check(fstat(fd, stat) == 0, "fstat");
  *bytes = realloc(*bytes, (size_t)stat->st_size + seal_bytes + 1);
  check(*bytes != NULL, "realloc");
  ssize_t length = 0, got;
  while ((got = read(fd, *bytes + length, (size_t)(stat->st_size - length))) > 0) length += got;
  check(got == 0 && close(fd) == 0, "read");
  return length;
}

/* A complete, synced file under a temporary name. */
static void write_draft(const char *path, const char *bytes, size_t length) {
  struct stat stat;
  int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
  check(fd >= 0, path);
  check(fstat(fd, &stat) == 0, "fstat");
  for (size_t done = 0; done < length;) {
    ssize_t wrote = pwrite(fd, bytes + done, length - done, (off_t)done);
    check(wrote > 0, "pwrite");
    done += (size_t)wrote;
  }
  check(fsync(fd) == 0, "fsync");
  check(fstat(fd, &stat) == 0 && (size_t)stat.st_size == length, "size");
  check(close(fd) == 0, "close");
}

/* The fence: the lock is still ours, and the file still the one that was read. */
static void look_again(const struct stat *seen) {
  char text[path_max];
  struct stat stat;
  ssize_t length = readlink(owner, text, sizeof text);
  check(length == (ssize_t)strlen(record) && memcmp(text, record, (size_t)length) == 0, "owner");
  check(lstat(lock, &stat) == 0, "lock");
  check(lstat(target, &stat) == 0 && stat.st_ino == seen->st_ino && stat.st_size == seen->st_size, "file");
}

static void commit(unsigned long number) {
  static char *bytes, *copied;
  char link[path_max];
  struct stat seen, stat;

  (void)!readlink(target, link, sizeof link);
  check(mkdir(lock, 0700) == 0 && lstat(lock, &stat) == 0 && symlink(record, owner) == 0, "lock");
  ssize_t length = read_file(target, &bytes, &seen);
  check(length > 64, "an existing file");
  read_file(copy, &copied, &stat);

  char digits[17];
  snprintf(digits, sizeof digits, "%016lx", number);
  memcpy(bytes + length - 40, digits, 16);
  write_draft(draft, bytes, (size_t)length);
  look_again(&seen);
  memset(bytes + length, ' ', seal_bytes);
  write_draft(copy_draft, bytes, (size_t)length + seal_bytes);
  check(rename(copy_draft, copy) == 0, "rename");
  look_again(&seen);
  check(rename(draft, target) == 0, "rename");
  int fd = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  check(fd >= 0 && fsync(fd) == 0 && close(fd) == 0, "directory");

  check(unlink(owner) == 0 && rmdir(lock) == 0, "unlock");
}

int main(int count, char **arguments) {
  char line[64];
  unsigned long number = 0;
  if (count != 2) return 2;
  name(target, arguments[1], "");
  name(directory, arguments[1], "");
  *strrchr(directory, '/') = 0;
  name(copy, target, ".bak");
  name(lock, target, ".lock");
  name(owner, target, ".lock.owner");
  name(draft, target, ".draft");
  name(copy_draft, target, ".bak.draft");

  while (fgets(line, sizeof line, stdin) != NULL) {
    for (long left = atol(line); left > 0; left--) {
      struct timespec from, to;
      clock_gettime(CLOCK_MONOTONIC, &from);
      commit(number++);
      clock_gettime(CLOCK_MONOTONIC, &to);
      printf("%ld ", (to.tv_sec - from.tv_sec) * 1000000000L + (to.tv_nsec - from.tv_nsec));
    }
    printf("\n");
    fflush(stdout);
  }
  return 0;
}
