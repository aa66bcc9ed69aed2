/* replay.c - a fuzz target over its corpus, without a fuzzer
 * Use     linked with one fuzz_x.c; each argument is an input, or a folder of them (taken in order of name)
 * Prints  TAP: one line an argument,
     "ok 1 - json: 8 inputs". A target that finds a fault ends the program; the
 *         input's name is then the last line on stderr. */
#define _POSIX_C_SOURCE 200809L
#include <dirent.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* The whole file in memory of just its size, so that a read past the end is seen. NULL: unreadable. */
static uint8_t *load(const char *path, size_t *size)
{
    FILE *f = fopen(path, "rb");
    uint8_t *bytes = NULL;
    long end;

    if (!f) return NULL;
    if (fseek(f, 0, SEEK_END) == 0 && (end = ftell(f)) >= 0 && fseek(f, 0, SEEK_SET) == 0) {
        *size = (size_t)end;
        bytes = (uint8_t *)malloc(*size > 0 ? *size : 1);
        if (bytes && fread(bytes, 1, *size, f) != *size) {
            free(bytes);
            bytes = NULL;
        }
    }
    (void)fclose(f);
    return bytes;
}

static int run_file(const char *path)
{
    size_t size = 0;
    uint8_t *bytes = load(path, &size);

    if (!bytes) {
        fprintf(stderr, "replay: cannot read %s\n", path);
        return -1;
    }
    fprintf(stderr, "%s\n", path);
    (void)LLVMFuzzerTestOneInput(bytes, size);
    free(bytes);
    return 0;
}

static int by_name(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

/* The files of a folder, in order of name; those that begin with a dot are passed over. -1: unreadable. */
static int list(const char *folder, char ***names)
{
    DIR *dir = opendir(folder);
    struct dirent *entry;
    char **all = NULL;
    size_t n = 0;

    if (!dir) return -1;
    while ((entry = readdir(dir)) != NULL) {
        size_t len = strlen(folder) + strlen(entry->d_name) + 2;
        char **more = entry->d_name[0] == '.' ? NULL : (char **)realloc(all, (n + 1) * sizeof *all);
        if (!more) continue;
        all = more;
        all[n] = (char *)malloc(len);
        if (!all[n]) break;
        (void)snprintf(all[n++], len, "%s/%s", folder, entry->d_name);
    }
    (void)closedir(dir);
    if (n > 0) qsort(all, n, sizeof *all, by_name);
    *names = all;
    return (int)n;
}

/* How many inputs ran; -1 if one of them could not be read. */
static int run_path(const char *path)
{
    struct stat st;
    char **names = NULL;
    int n, ran = 0;

    if (stat(path, &st) != 0 || !S_ISDIR(st.st_mode)) return run_file(path) == 0 ? 1 : -1;
    n = list(path, &names);
    if (n < 0) fprintf(stderr, "replay: cannot list %s\n", path);
    if (n < 0) return -1;
    for (int i = 0; i < n; i++) {
        if (ran >= 0) ran = run_file(names[i]) == 0 ? ran + 1 : -1;
        free(names[i]);
    }
    free(names);
    return ran;
}

static const char *last_part(const char *path)
{
    const char *slash = strrchr(path, '/');

    return slash && slash[1] != '\0' ? slash + 1 : path;
}

int main(int argc, char **argv)
{
    int failed = 0;

    printf("1..%d\n", argc - 1);
    for (int i = 1; i < argc; i++) {
        int ran;
        (void)fflush(stdout);
        ran = run_path(argv[i]);
        if (ran <= 0) failed++; /* a folder without inputs tests nothing */
        if (ran > 0) printf("ok %d - %s: %d inputs\n", i, last_part(argv[i]), ran);
        else printf("not ok %d - %s: %s\n", i, last_part(argv[i]), ran == 0 ? "no inputs" : "cannot be read");
    }
    return failed > 0 || argc < 2 ? 1 : 0;
}
