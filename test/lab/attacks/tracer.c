// Runs a program and counts, over all of its threads, the system calls that touch files below one directory. The nth
// of them can be the one at which the whole process is killed, or can fail with an errno; it is then not carried out.
//
//   tracer --under DIR --log FILE [--kill N] -- program argument...
//
// Counting runs between two marks of the program itself: access(2) of /authkeep-lab/begin and of /authkeep-lab/end. A
// program that tries many things says itself what is to fail: /authkeep-lab/begin/N/ERRNO/once (or "for-good").
// The log has a line "begin" for each first mark, "n name path" for each counted call, and at last "exit CODE" or
// "signal NUMBER".
#define _GNU_SOURCE
#include <errno.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/limits.h>
#include <linux/seccomp.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <unistd.h>

#ifndef __x86_64__
#error "the tracer reads the registers of x86-64"
#endif

enum shape { FD, PATH, AT, TWO_PATHS, TWO_AT, SECOND, SECOND_AT };

static const struct { long number; const char *name; enum shape shape; } calls[] = {
  {SYS_open, "open", PATH}, {SYS_openat, "openat", AT}, {SYS_openat2, "openat2", AT}, {SYS_creat, "creat", PATH},
  {SYS_read, "read", FD}, {SYS_pread64, "pread", FD}, {SYS_readv, "readv", FD}, {SYS_preadv, "preadv", FD},
  {SYS_write, "write", FD}, {SYS_pwrite64, "pwrite", FD}, {SYS_writev, "writev", FD}, {SYS_pwritev, "pwritev", FD},
  {SYS_close, "close", FD}, {SYS_fsync, "fsync", FD}, {SYS_fdatasync, "fdatasync", FD},
  {SYS_ftruncate, "ftruncate", FD}, {SYS_truncate, "truncate", PATH}, {SYS_fallocate, "fallocate", FD},
  {SYS_stat, "stat", PATH}, {SYS_lstat, "lstat", PATH}, {SYS_fstat, "fstat", FD}, {SYS_newfstatat, "newfstatat", AT},
  {SYS_statx, "statx", AT}, {SYS_readlink, "readlink", PATH}, {SYS_readlinkat, "readlinkat", AT},
  {SYS_getdents64, "getdents64", FD}, {SYS_access, "access", PATH}, {SYS_faccessat, "faccessat", AT},
  {SYS_faccessat2, "faccessat2", AT}, {SYS_mkdir, "mkdir", PATH}, {SYS_mkdirat, "mkdirat", AT},
  {SYS_rmdir, "rmdir", PATH}, {SYS_unlink, "unlink", PATH}, {SYS_unlinkat, "unlinkat", AT},
  {SYS_rename, "rename", TWO_PATHS}, {SYS_renameat, "renameat", TWO_AT}, {SYS_renameat2, "renameat2", TWO_AT},
  {SYS_link, "link", TWO_PATHS}, {SYS_linkat, "linkat", TWO_AT}, {SYS_symlink, "symlink", SECOND},
  {SYS_symlinkat, "symlinkat", SECOND_AT}, {SYS_chmod, "chmod", PATH}, {SYS_fchmod, "fchmod", FD},
  {SYS_fchmodat, "fchmodat", AT}, {SYS_chown, "chown", PATH}, {SYS_lchown, "lchown", PATH}, {SYS_fchown, "fchown", FD},
  {SYS_fchownat, "fchownat", AT}, {SYS_utimensat, "utimensat", AT}, {SYS_copy_file_range, "copy_file_range", FD},
  {SYS_sendfile, "sendfile", FD},
};
enum { callCount = sizeof calls / sizeof *calls };

static void fail(const char *what) {
  perror(what);
  exit(125);
}

static void installFilter(void) {
  struct sock_filter filter[2 * callCount + 2];
  int length = 0;
  filter[length++] = (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr));
  for (int i = 0; i < callCount; i++) {
    filter[length++] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, calls[i].number, 0, 1);
    filter[length++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_TRACE);
  }
  filter[length++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
  struct sock_fprog program = {length, filter};
  if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) || prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program)) fail("seccomp");
}

static void readText(pid_t thread, unsigned long address, char *text) {
  text[0] = 0;
  for (size_t done = 0; address != 0 && done + 1 < PATH_MAX;) {
    // Never across a page: the next one may not be there.
    size_t piece = 4096 - (address + done) % 4096;
    if (piece > PATH_MAX - 1 - done) piece = PATH_MAX - 1 - done;
    struct iovec here = {text + done, piece}, there = {(void *)(address + done), piece};
    ssize_t got = process_vm_readv(thread, &here, 1, &there, 1, 0);
    if (got <= 0) break;
    text[done + got] = 0;
    if (memchr(text + done, 0, got) != NULL) return;
    done += got;
  }
}

static void readDescriptor(pid_t thread, long fd, char *text) {
  char link[64];
  snprintf(link, sizeof link, "/proc/%d/fd/%ld", thread, fd);
  ssize_t length = readlink(link, text, PATH_MAX - 1);
  text[length < 0 ? 0 : length] = 0;
}

static int isBelow(const char *path, const char *directory) {
  size_t length = strlen(directory);
  return strncmp(path, directory, length) == 0 && (path[length] == 0 || path[length] == '/' || path[length] == ' ');
}

/** The path that a call speaks of; of two, the first one that lies below the directory. */
static void pathOf(pid_t thread, const struct user_regs_struct *r, enum shape shape, const char *under, char *path) {
  switch (shape) {
    case FD: readDescriptor(thread, (long)r->rdi, path); return;
    case PATH: readText(thread, r->rdi, path); return;
    case AT:
      readText(thread, r->rsi, path);
      if (path[0] == 0) readDescriptor(thread, (long)(int)r->rdi, path);
      return;
    case SECOND: readText(thread, r->rsi, path); return;
    case SECOND_AT: readText(thread, r->rdx, path); return;
    case TWO_PATHS:
      readText(thread, r->rdi, path);
      if (!isBelow(path, under)) readText(thread, r->rsi, path);
      return;
    case TWO_AT:
      readText(thread, r->rsi, path);
      if (!isBelow(path, under)) readText(thread, r->r10, path);
      return;
  }
}

int main(int count, char **words) {
  const char *under = NULL, *logPath = NULL;
  long killAt = 0, failAt = 0, error = 0;
  int isForGood = 0, at = 1;
  for (; at < count && strcmp(words[at], "--") != 0; at++) {
    if (strcmp(words[at], "--under") == 0) under = words[++at];
    else if (strcmp(words[at], "--log") == 0) logPath = words[++at];
    else if (strcmp(words[at], "--kill") == 0) killAt = atol(words[++at]);
  }
  FILE *log = logPath == NULL ? NULL : fopen(logPath, "w");
  if (under == NULL || log == NULL || at + 1 >= count) {
    fprintf(stderr, "tracer: --under DIR, --log FILE and a program are needed\n");
    return 125;
  }

  pid_t child = fork();
  if (child < 0) fail("fork");
  if (child == 0) {
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (ptrace(PTRACE_TRACEME, 0, 0, 0)) fail("ptrace");
    raise(SIGSTOP);
    installFilter();
    execvp(words[at + 1], words + at + 1);
    fail(words[at + 1]);
  }

  int status;
  if (waitpid(child, &status, 0) < 0) fail("waitpid");
  long options = PTRACE_O_TRACESECCOMP | PTRACE_O_TRACECLONE | PTRACE_O_TRACEFORK | PTRACE_O_TRACEVFORK |
                 PTRACE_O_TRACEEXEC | PTRACE_O_EXITKILL;
  if (ptrace(PTRACE_SETOPTIONS, child, 0, options)) fail("ptrace options");
  ptrace(PTRACE_CONT, child, 0, 0);

  int isCounting = 0;
  long seen = 0;
  for (;;) {
    pid_t thread = waitpid(-1, &status, __WALL);
    if (thread < 0) break;
    if (WIFEXITED(status) || WIFSIGNALED(status)) {
      if (thread != child) continue;
      if (WIFEXITED(status)) fprintf(log, "exit %d\n", WEXITSTATUS(status));
      else fprintf(log, "signal %d\n", WTERMSIG(status));
      fclose(log);
      return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
    }
    int event = status >> 16, signal = WSTOPSIG(status);
    if (event == PTRACE_EVENT_SECCOMP) {
      struct user_regs_struct registers;
      if (ptrace(PTRACE_GETREGS, thread, 0, &registers) == 0) {
        int call = 0;
        while (call < callCount && calls[call].number != (long)registers.orig_rax) call++;
        char path[PATH_MAX] = "";
        if (call < callCount) pathOf(thread, &registers, calls[call].shape, under, path);
        if (strncmp(path, "/authkeep-lab/begin", 19) == 0) {
          isCounting = 1;
          seen = 0;
          char how[16] = "";
          if (sscanf(path + 19, "/%ld/%ld/%15s", &failAt, &error, how) == 3) isForGood = strcmp(how, "for-good") == 0;
          fprintf(log, "begin\n");
        }
        else if (strcmp(path, "/authkeep-lab/end") == 0) isCounting = 0;
        else if (isCounting && isBelow(path, under)) {
          seen++;
          fprintf(log, "%ld %s %s\n", seen, calls[call].name, path);
          if (seen == killAt) {
            kill(child, SIGKILL);
            continue;
          }
          if (failAt > 0 && (seen == failAt || (isForGood && seen > failAt))) {
            registers.orig_rax = -1;
            registers.rax = -error;
            ptrace(PTRACE_SETREGS, thread, 0, &registers);
          }
        }
      }
      ptrace(PTRACE_CONT, thread, 0, 0);
    } else if (event != 0 || signal == SIGSTOP || signal == SIGTRAP) {
      ptrace(PTRACE_CONT, thread, 0, 0);
    } else {
      ptrace(PTRACE_CONT, thread, 0, signal);
    }
  }
  return 125;
}
