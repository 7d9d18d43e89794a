// What Android's C library has and glibc lacks or does otherwise, for running an Android x86_64 library in a Linux JVM.
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define NEXT(name) \
  static __typeof__(name) *next; \
  if (!next) next = (__typeof__(next))dlsym(RTLD_NEXT, #name)

// Android's linker looks into a library and what it needs before it looks elsewhere. Without this the libraries' C++
// exceptions meet the JVM's libstdc++ and libgcc half way up the stack, and the process dies.
void *dlopen(const char *path, int mode) {
  NEXT(dlopen);
  if (path && !strncmp(path, NATIVES, strlen(NATIVES))) mode |= RTLD_DEEPBIND;
  return next(path, mode);
}

char __sF[3][152];  // bionic's stdin, stdout and stderr

static FILE *stream(FILE *file) {
  for (int i = 0; i < 3; i++)
    if ((char *)file == __sF[i]) return i == 0 ? stdin : i == 1 ? stdout : stderr;
  return file;
}

int vfprintf(FILE *file, const char *format, va_list list) {
  NEXT(vfprintf);
  return next(stream(file), format, list);
}

int fprintf(FILE *file, const char *format, ...) {
  va_list list;
  va_start(list, format);
  int written = vfprintf(file, format, list);
  va_end(list);
  return written;
}

size_t fwrite(const void *data, size_t size, size_t count, FILE *file) {
  NEXT(fwrite);
  return next(data, size, count, stream(file));
}

int fflush(FILE *file) {
  NEXT(fflush);
  return next(stream(file));
}

int fputc(int character, FILE *file) {
  NEXT(fputc);
  return next(character, stream(file));
}

int fputs(const char *text, FILE *file) {
  NEXT(fputs);
  return next(text, stream(file));
}

int fileno(FILE *file) {
  NEXT(fileno);
  return next(stream(file));
}

// bionic's numbers; nothing else here asks glibc for what it calls 39, 40, 96, 97 and 98
long sysconf(int name) {
  NEXT(sysconf);
  switch (name) {
    case 39: case 40: return next(_SC_PAGESIZE);
    case 96: return next(_SC_NPROCESSORS_CONF);
    case 97: return next(_SC_NPROCESSORS_ONLN);
    case 98: return next(_SC_PHYS_PAGES);
  }
  return next(name);
}

int *__errno(void) { return __errno_location(); }
char *__gnu_strerror_r(int error, char *buffer, size_t size) { return strerror_r(error, buffer, size); }
size_t __strlen_chk(const char *text, size_t size) { return strlen(text); }
char *__strchr_chk(const char *text, int character, size_t size) { return strchr(text, character); }
char *__strrchr_chk(const char *text, int character, size_t size) { return strrchr(text, character); }
ssize_t __write_chk(int file, const void *data, size_t count, size_t size) { return write(file, data, count); }

void __assert2(const char *file, int line, const char *function, const char *message) {
  fprintf(stderr, "%s:%d %s %s\n", file, line, function, message);
  abort();
}

int __system_property_get(const char *name, char *value) {
  value[0] = 0;
  return 0;
}

const void *__system_property_find(const char *name) { return NULL; }
void android_set_abort_message(const char *message) { fprintf(stderr, "%s\n", message); }

int __android_log_vprint(int priority, const char *tag, const char *format, va_list list) {
  flockfile(stderr);
  fprintf(stderr, "[%s] ", tag);
  int written = vfprintf(stderr, format, list);
  fputc('\n', stderr);
  funlockfile(stderr);
  return written;
}

int __android_log_print(int priority, const char *tag, const char *format, ...) {
  va_list list;
  va_start(list, format);
  int written = __android_log_vprint(priority, tag, format, list);
  va_end(list);
  return written;
}

int __android_log_write(int priority, const char *tag, const char *message) {
  return __android_log_print(priority, tag, "%s", message);
}

void __android_log_assert(const char *condition, const char *tag, const char *format, ...) {
  va_list list;
  va_start(list, format);
  if (format) __android_log_vprint(7, tag, format, list);
  else __android_log_write(7, tag, condition);
  va_end(list);
  abort();
}
