// A disk whose past can be replayed.
//
//   disk serve <image> <log> <directory>             serves the image as <directory>/disk through FUSE and logs every
//                                                    write and flush of it, and what is written to <directory>/marks
//   disk mount <image> <directory> <type> <options>  mounts an image over a loop device that goes away with the mount
//   disk states <image> <log> <scratch> <directory> <type>
//                                                    mounts, on request, what a power cut would have left
//
// The log is a sequence of records; its order is the order in which the disk, and the marks, saw things happen.
#define _GNU_SOURCE
#define FUSE_USE_VERSION 31
#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <fuse.h>
#include <linux/fs.h>
#include <linux/loop.h>
#include <sched.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

enum { SECTOR = 512, BLOCK = 4096 };

struct record {
  uint32_t kind;  // 'W'rite, 'F'lush or 'M'ark
  uint32_t length;
  uint64_t offset;
  unsigned char data[];
};

static int open_or_die(const char *path, int flags) {
  int fd = open(path, flags | O_CLOEXEC, 0600);
  if (fd < 0) err(1, "%s", path);
  return fd;
}

static size_t size_of(int fd) {
  struct stat stat;
  if (fstat(fd, &stat) != 0) err(1, "fstat");
  return (size_t)stat.st_size;
}

// --- serve -----------------------------------------------------------------------------------------------------------

static int image_fd, log_fd;

static int append(uint32_t kind, off_t offset, const char *data, size_t length) {
  struct record head = {kind, (uint32_t)length, (uint64_t)offset};
  struct iovec parts[] = {{&head, sizeof head}, {(void *)data, length}};
  return writev(log_fd, parts, 2) == (ssize_t)(sizeof head + length) ? 0 : -EIO;
}

static int is_disk(const char *path) { return strcmp(path, "/disk") == 0; }

static int serve_getattr(const char *path, struct stat *stat, struct fuse_file_info *file) {
  (void)file;
  *stat = (struct stat){.st_mode = S_IFREG | 0600, .st_nlink = 1};
  if (is_disk(path)) stat->st_size = (off_t)size_of(image_fd);
  else if (strcmp(path, "/") == 0) *stat = (struct stat){.st_mode = S_IFDIR | 0700, .st_nlink = 2};
  else if (strcmp(path, "/marks") != 0) return -ENOENT;
  return 0;
}

static int serve_open(const char *path, struct fuse_file_info *file) {
  (void)path;
  file->direct_io = 1;  // The kernel must not keep, merge or delay anything: we log what reaches the disk, when it does.
  return 0;
}

static int serve_read(const char *path, char *data, size_t length, off_t offset, struct fuse_file_info *file) {
  (void)file;
  if (!is_disk(path)) return 0;
  ssize_t count = pread(image_fd, data, length, offset);
  return count < 0 ? -errno : (int)count;
}

static int serve_write(const char *path, const char *data, size_t length, off_t offset, struct fuse_file_info *file) {
  (void)file;
  int failure = append(is_disk(path) ? 'W' : 'M', offset, data, length);
  if (failure != 0 || !is_disk(path)) return failure != 0 ? failure : (int)length;
  ssize_t count = pwrite(image_fd, data, length, offset);
  return count < 0 ? -errno : (int)count;
}

static int serve_fsync(const char *path, int data_only, struct fuse_file_info *file) {
  (void)data_only, (void)file;
  return is_disk(path) ? append('F', 0, NULL, 0) : 0;
}

// Whoever leaves a mount namespace last unmounts what is in it. Were that us, the kernel would wait, in our own exit,
// for us to write the disk: so we move out before anything is mounted from it.
static void *serve_init(struct fuse_conn_info *connection, struct fuse_config *config) {
  (void)connection, (void)config;
  if (unshare(CLONE_NEWNS) != 0) err(1, "unshare");
  return NULL;
}

static int serve(const char *image, const char *log, char *directory) {
  static const struct fuse_operations operations = {
    .init = serve_init, .getattr = serve_getattr, .open = serve_open,
    .read = serve_read, .write = serve_write, .fsync = serve_fsync};
  image_fd = open_or_die(image, O_RDWR);
  log_fd = open_or_die(log, O_WRONLY | O_CREAT | O_TRUNC | O_APPEND);
  char *arguments[] = {"disk", "-f", "-s", directory, NULL};  // one thread: one order
  return fuse_main(4, arguments, &operations, NULL);
}

// --- mount -----------------------------------------------------------------------------------------------------------

// A loop device over the image. The kernel frees it when its last user is gone, however that user ends.
static int attach(const char *image, uint32_t flags, char device[32]) {
  int control = open_or_die("/dev/loop-control", O_RDWR);
  struct loop_config config = {.fd = (uint32_t)open_or_die(image, O_RDWR), .block_size = SECTOR};
  config.info.lo_flags = LO_FLAGS_AUTOCLEAR | flags;
  for (;;) {
    int number = ioctl(control, LOOP_CTL_GET_FREE);
    if (number < 0) err(1, "no free loop device");
    snprintf(device, 32, "/dev/loop%d", number);
    int fd = open_or_die(device, O_RDWR);
    if (ioctl(fd, LOOP_CONFIGURE, &config) == 0) {
      close((int)config.fd);
      close(control);
      return fd;
    }
    if (errno != EBUSY) err(1, "%s", device);
    close(fd);  // Somebody else was faster.
  }
}

static int mount_image(const char *image, const char *directory, const char *type, const char *options) {
  char device[32];
  attach(image, LO_FLAGS_DIRECT_IO, device);
  if (mount(device, directory, type, MS_NOATIME, options) != 0) err(1, "mount %s", type);
  return 0;
}

// --- states ----------------------------------------------------------------------------------------------------------

static const struct record **records;
static size_t record_count;

static void index_log(const char *path) {
  int fd = open_or_die(path, O_RDONLY);
  size_t size = size_of(fd), room = 0;
  const unsigned char *log = mmap(NULL, size, PROT_READ, MAP_SHARED, fd, 0);
  if (log == MAP_FAILED) err(1, "%s", path);
  // Records are not aligned, which x86 and ARM do not mind.
  for (size_t at = 0; at < size; at += sizeof(struct record) + records[record_count - 1]->length) {
    if (record_count == room) records = realloc(records, (room = room * 2 + 1024) * sizeof *records);
    records[record_count++] = (const struct record *)(log + at);
  }
}

// The disk as of one flush: a private mapping of the first image, with the log applied up to there.
static unsigned char *base;
static unsigned char *in_use;  // per block: not known to be zero
static size_t base_size, applied;
static int first_fd;

static void rewind_base(void) {
  if (base != NULL) munmap(base, base_size);
  base = mmap(NULL, base_size, PROT_READ | PROT_WRITE, MAP_PRIVATE, first_fd, 0);
  if (base == MAP_FAILED) err(1, "mmap");
  memset(in_use, 0, base_size / BLOCK);
  for (off_t end = 0, start; (start = lseek(first_fd, end, SEEK_DATA)) >= 0;) {
    end = lseek(first_fd, start, SEEK_HOLE);
    for (off_t at = start; at < end; at += BLOCK) in_use[at / BLOCK] = 1;
  }
  applied = 0;
}

static void advance_base(size_t to) {
  if (to < applied) rewind_base();
  for (; applied < to; applied++) {
    const struct record *write = records[applied];
    if (write->kind != 'W') continue;
    memcpy(base + write->offset, write->data, write->length);
    for (uint64_t at = write->offset / BLOCK; at * BLOCK < write->offset + write->length; at++) in_use[at] = 1;
  }
}

static void write_all(int fd, const unsigned char *data, size_t length, off_t offset) {
  for (ssize_t count; length > 0; data += count, offset += count, length -= (size_t)count) {
    if ((count = pwrite(fd, data, length, offset)) <= 0) err(1, "the scratch image");
  }
}

// `request`: how many records are on the disk for certain, then the later writes that made it there as well, each
// `record` or, torn, `record.first sector.sectors`.
static void build(int scratch, char *request) {
  advance_base(strtoul(request, &request, 10));
  if (fallocate(scratch, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, (off_t)base_size) != 0) err(1, "fallocate");
  for (size_t from = 0, to, end = base_size / BLOCK; from < end; from = to + 1) {
    for (to = from; to < end && in_use[to]; to++) {}
    write_all(scratch, base + from * BLOCK, (to - from) * BLOCK, (off_t)(from * BLOCK));
  }
  for (size_t number; (number = strtoul(request, &request, 10)) != 0;) {
    if (number >= record_count || records[number]->kind != 'W') errx(1, "record %zu is no write", number);
    const struct record *write = records[number];
    size_t first = 0, length = write->length;
    if (*request == '.') {
      first = strtoul(request + 1, &request, 10) * SECTOR;
      length = strtoul(request + 1, &request, 10) * SECTOR;
    }
    if (first + length > write->length) errx(1, "record %zu is shorter", number);
    write_all(scratch, write->data + first, length, (off_t)(write->offset + first));
  }
}

// Reads `mount <request>` and `umount` from standard input and answers each with `ok` or an error.
static int states(const char *image, const char *log, const char *scratch, const char *directory, const char *type) {
  index_log(log);
  first_fd = open_or_die(image, O_RDONLY);
  base_size = size_of(first_fd);
  in_use = malloc(base_size / BLOCK);
  rewind_base();
  int scratch_fd = open_or_die(scratch, O_RDWR | O_CREAT | O_TRUNC);
  if (ftruncate(scratch_fd, (off_t)base_size) != 0) err(1, "%s", scratch);
  char device[32], *line = NULL;
  int device_fd = attach(scratch, 0, device);
  for (size_t room = 0; getline(&line, &room, stdin) > 0;) {
    int failed;
    if (strncmp(line, "mount ", 6) == 0) {
      build(scratch_fd, line + 6);
      if (ioctl(device_fd, BLKFLSBUF, 0) != 0) err(1, "BLKFLSBUF");  // what the block layer remembers of the last one
      failed = mount(device, directory, type, MS_NOATIME, "");
    } else {
      failed = umount2(directory, 0);
    }
    puts(failed ? strerror(errno) : "ok");
    fflush(stdout);
  }
  return 0;
}

int main(int count, char **arguments) {
  const char *role = count > 1 ? arguments[1] : "";
  if (strcmp(role, "serve") == 0 && count == 5) return serve(arguments[2], arguments[3], arguments[4]);
  if (strcmp(role, "mount") == 0 && count == 6)
    return mount_image(arguments[2], arguments[3], arguments[4], arguments[5]);
  if (strcmp(role, "states") == 0 && count == 7)
    return states(arguments[2], arguments[3], arguments[4], arguments[5], arguments[6]);
  errx(2, "usage: see the top of disk.c");
}
