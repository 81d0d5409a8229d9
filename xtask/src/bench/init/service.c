/* The service of `make bench-init`, and its other small programs: static, so that starting it costs as little as can be.
 *
 *   once|stay STAMPS NUMBER [TOTAL]   stamps, then ends or stays; with TOTAL the one that stamps last looks around
 *   chat STAMPS NUMBER BYTES          prints that much in lines of 128 bytes, then stamps and stays
 *   floor STAMPS COUNT                starts `once` COUNT times, one after the other: nobody can start them sooner
 *
 * As the first process of a machine (FIRST) it mounts what every supervisor wants to be there, writes down what time it is, and
 * becomes the one that COMMAND tells, a word on each line.
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
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define LINE 128
#define BEGIN "/run/begin"
#define COMMAND "/bench/command"
/* As which the kernel starts this program; it waits as a process of its own to tell that it has become late. */
#define FIRST "/init"
#define WORDS 16
/* Seconds after which those of a machine's services that have not started never will. */
#define LATE 120

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

/* A number of a file with lines such as `Pss:   12 kB`. */
static long field(const char *path, const char *name) {
    char line[256];
    long value = 0;
    FILE *file = fopen(path, "r");
    while (file && fgets(line, sizeof line, file))
        if (!strncmp(line, name, strlen(name))) value = strtol(line + strlen(name), NULL, 10);
    if (file) fclose(file);
    return value;
}

/* Resident memory of every program that is not ours, and its part of what is shared, in kB, on the console. */
static void tell_memory(FILE *console) {
    char own[PATH_MAX] = "", path[64], program[PATH_MAX];
    if (readlink("/proc/self/exe", own, sizeof own - 1) < 0) return;
    DIR *processes = opendir("/proc");
    for (struct dirent *entry; processes && (entry = readdir(processes));) {
        long pid = strtol(entry->d_name, NULL, 10);
        snprintf(path, sizeof path, "/proc/%ld/exe", pid);
        ssize_t length = pid > 0 ? readlink(path, program, sizeof program - 1) : -1;
        if (length <= 0) continue;
        program[length] = 0;
        if (!strcmp(program, own) || !strcmp(program, FIRST)) continue;
        snprintf(path, sizeof path, "/proc/%ld/smaps_rollup", pid);
        fprintf(console, "bench: memory %ld %ld %s\n", field(path, "Rss:"), field(path, "Pss:"), program);
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
    if (!console) return;
    /* One that was the first process itself had nobody to write it down. */
    if (file >= 0 && read(file, &begin, sizeof begin) != sizeof begin) return;
    fprintf(console, "\nbench: boot %llu %llu\n", (unsigned long long)begin, (unsigned long long)end);
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

/* Says so when it has become too late; whoever has started in time has ended the machine by then. */
static void watch(void) {
    if (fork()) return;
    sleep(LATE);
    FILE *console = fopen("/dev/console", "w");
    if (console) fprintf(console, "\nbench: late\n");
    _exit(0);
}

static int first_process(void) {
    static const char *const mounts[][2] = {
        {"proc", "/proc"}, {"sysfs", "/sys"}, {"devtmpfs", "/dev"}, {"tmpfs", "/run"}, {"cgroup2", "/sys/fs/cgroup"}};
    for (size_t each = 0; each < sizeof mounts / sizeof *mounts; each++) {
        mkdir(mounts[each][1], 0755);
        mount(mounts[each][0], mounts[each][1], mounts[each][0], 0, NULL);
    }
    watch();
    static char text[4096];
    char *words[WORDS + 1] = {NULL};
    int file = open(COMMAND, O_RDONLY | O_CLOEXEC), count = 0;
    if (file < 0 || read(file, text, sizeof text - 1) <= 0) return 1;
    for (char *word = strtok(text, "\n"); word && count < WORDS; word = strtok(NULL, "\n")) words[count++] = word;
    setenv("PATH", "/usr/bin:/bin:/usr/sbin:/sbin", 1);
    uint64_t begin = now();
    file = open(BEGIN, O_WRONLY | O_CREAT | O_CLOEXEC, 0666);
    if (file < 0 || write(file, &begin, sizeof begin) != sizeof begin) return 1;
    execv(words[0], words);
    return 1;
}

int main(int count, char **words) {
    if (!strcmp(words[0], FIRST)) return first_process();
    if (count < 4) return 2;
    int number = atoi(words[3]);
    if (!strcmp(words[1], "floor")) return floor_of(words[0], words[2], number);
    if (!strcmp(words[1], "chat") && count == 5) chat(atol(words[4]));
    append(words[2], (uint32_t)number);
    if (!strcmp(words[1], "once")) return 0;
    if (!strcmp(words[1], "stay") && count == 5) look_around(words[2], (uint32_t)atoi(words[4]));
    for (;;) pause();
}
