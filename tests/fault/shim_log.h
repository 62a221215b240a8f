/* shim_log: what a process does to files, in the order in which it was done, into the file FAULT_LOG: a line each,
 * "open FD CREATED DIRFD PATH", "write FD OFFSET HEX" and so on, for tests/fault/power_loss.py. A call and its line are
 * one step, whatever other threads do. */
#ifndef TESTS_FAULT_SHIM_LOG_H
#define TESTS_FAULT_SHIM_LOG_H
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static int log_fd = -1;
static pthread_mutex_t log_lock = PTHREAD_MUTEX_INITIALIZER;

static void log_begin(void)
{
    const char *path = getenv("FAULT_LOG");
    if (path) log_fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
}

static void log_enter(void)
{
    if (log_fd >= 0) pthread_mutex_lock(&log_lock);
}

/* After the call: its line, unless it failed. data: its bytes, in hexadecimal at the end. */
static void log_leave(int failed, const void *data, size_t n, const char *format, ...)
{
    const int err = errno;
    if (log_fd < 0) return;
    if (!failed) {
        FILE *f = fdopen(dup(log_fd), "a");
        va_list ap;
        va_start(ap, format);
        vfprintf(f, format, ap);
        va_end(ap);
        for (size_t i = 0; i < n; i++) fprintf(f, "%02x", ((const unsigned char *)data)[i]);
        fputc('\n', f);
        fclose(f);
    }
    pthread_mutex_unlock(&log_lock);
    errno = err;
}
#endif
