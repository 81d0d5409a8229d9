/* The service of `make bench-init`, and its other small programs: static, so that starting it costs as little as can be.
 *
 *   once|stay STAMPS NUMBER [TOTAL]   stamps, then ends or stays; with TOTAL the one that stamps last looks around
 *   chat STAMPS NUMBER BYTES          prints that much in lines of 128 bytes, then stamps and stays
 *   floor STAMPS COUNT                starts `once` COUNT times, one after the other: nobody can start them sooner
 *   begin FILE                        writes down what time it is
 *
 * A stamp is 16 bytes at the end of STAMPS: NUMBER, process id, CLOCK_MONOTONIC in nanoseconds. */
#include <dirent.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <spawn.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/reboot.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define LINE 128
#define BEGIN "/run/begin"

struct stamp {
    uint32_t number, pid;
    uint64_t time;
};

static uint64_t now(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (uint64_t)time.tv_sec * 1000000000u + (uint64_t)time.tv_nsec;
}

static void append(const char *path, uint32_t number) {
    struct stamp stamp = {number, (uint32_t)getpid(), now()};
    int file = open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0666);
    if (file < 0 || write(file, &stamp, sizeof stamp) != sizeof stamp) _exit(1);
    close(file);
}

/* Resident memory of every program that is not this one, in pages, on the console. */
static void tell_memory(FILE *console) {
    char own[PATH_MAX] = "", path[64], program[PATH_MAX];
    if (readlink("/proc/self/exe", own, sizeof own - 1) < 0) return;
    DIR *processes = opendir("/proc");
    for (struct dirent *entry; processes && (entry = readdir(processes));) {
        long pid = strtol(entry->d_name, NULL, 10), size, resident;
        snprintf(path, sizeof path, "/proc/%ld/exe", pid);
        ssize_t length = pid > 0 ? readlink(path, program, sizeof program - 1) : -1;
        if (length <= 0) continue;
        program[length] = 0;
        if (!strcmp(program, own)) continue;
        snprintf(path, sizeof path, "/proc/%ld/statm", pid);
        FILE *file = fopen(path, "r");
        if (file && fscanf(file, "%ld %ld", &size, &resident) == 2)
            fprintf(console, "bench: memory %ld %s\n", resident * sysconf(_SC_PAGESIZE), program);
        if (file) fclose(file);
    }
}

/* Kills the first service and waits for its successor's stamp. */
static void tell_restart(FILE *console, const char *stamps, uint32_t total) {
    struct stamp one;
    int file = open(stamps, O_RDONLY | O_CLOEXEC);
    if (file < 0 || pread(file, &one, sizeof one, 0) != sizeof one) return;
    uint64_t killed = now();
    kill((pid_t)one.pid, SIGKILL);
    while (pread(file, &one, sizeof one, (off_t)total * (off_t)sizeof one) != sizeof one) {
        if (now() - killed > 5000000000u) return;
        usleep(50);
    }
    fprintf(console, "bench: restart %llu\n", (unsigned long long)(one.time - killed));
}

static void look_around(const char *stamps, uint32_t total) {
    struct stat status;
    if (stat(stamps, &status) || status.st_size != (off_t)total * (off_t)sizeof(struct stamp)) return;
    uint64_t begin = 0, end = now();
    int file = open(BEGIN, O_RDONLY | O_CLOEXEC);
    FILE *console = fopen("/dev/console", "w");
    if (!console || file < 0 || read(file, &begin, sizeof begin) != sizeof begin) return;
    fprintf(console, "\nbench: boot %llu\n", (unsigned long long)(end - begin));
    sleep(3);
    tell_memory(console);
    tell_restart(console, stamps, total);
    fprintf(console, "bench: end\n");
    fflush(console);
}

static void chat(long bytes) {
    char line[LINE];
    memset(line, 'x', sizeof line);
    line[LINE - 1] = '\n';
    for (long done = 0; done < bytes; done += LINE)
        if (write(1, line, LINE) != LINE) _exit(1);
}

static int floor_of(char *program, char *stamps, int count) {
    for (int number = 0; number < count; number++) {
        char text[16], *arguments[] = {program, "once", stamps, text, NULL};
        char *environment[] = {"PATH=/usr/bin:/bin", NULL};
        pid_t pid;
        snprintf(text, sizeof text, "%d", number);
        if (posix_spawn(&pid, program, NULL, NULL, arguments, environment) || waitpid(pid, NULL, 0) != pid) return 1;
    }
    return 0;
}

int main(int count, char **words) {
    if (count == 3 && !strcmp(words[1], "begin")) {
        uint64_t begin = now();
        int file = open(words[2], O_WRONLY | O_CREAT | O_CLOEXEC, 0666);
        return write(file, &begin, sizeof begin) != sizeof begin;
    }
    if (count < 4) return 2;
    int number = atoi(words[3]);
    if (!strcmp(words[1], "floor")) return floor_of(words[0], words[2], number);
    if (!strcmp(words[1], "chat") && count == 5) chat(atol(words[4]));
    append(words[2], (uint32_t)number);
    if (!strcmp(words[1], "once")) return 0;
    if (!strcmp(words[1], "stay") && count == 5) look_around(words[2], (uint32_t)atoi(words[4]));
    for (;;) pause();
}
