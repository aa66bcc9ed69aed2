/* certificates.c - the files of a test with client certificates
 *
 *   certificates FOLDER
 *
 * Writes into FOLDER, which is there: ca.pem; server.pem and server.key, for localhost and 127.0.0.1;
 * client.pem and client.key; all of one CA. And stranger.pem with stranger.key, a client's of another CA.
 */
#include "../certs.h"

static void write_file(const char *folder, const char *name, const char *end, const char *text)
{
    char path[1024];
    FILE *f;

    snprintf(path, sizeof path, "%s/%s%s", folder, name, end);
    f = fopen(path, "w");
    if (f && fputs(text, f) >= 0 && fclose(f) == 0) return;
    perror(path);
    exit(1);
}

static void write_both(const char *folder, const char *name, certs_t *c)
{
    unsigned char key[2048];

    certs_check(mbedtls_pk_write_key_pem(&c->key, key, sizeof key), "a key's PEM");
    write_file(folder, name, ".pem", c->pem);
    write_file(folder, name, ".key", (const char *)key);
    certs_free(c);
}

int main(int argc, char **argv)
{
    certs_t ca, other_ca, server, client, stranger;

    if (argc != 2) {
        fprintf(stderr, "usage: certificates FOLDER\n");
        return 2;
    }
    certs_make(&ca, NULL, "CN=test CA", NULL, CERTS_FROM, CERTS_TO);
    certs_make(&other_ca, NULL, "CN=other CA", NULL, CERTS_FROM, CERTS_TO);
    certs_make(&server, &ca, "CN=localhost", "localhost,ip:127.0.0.1", CERTS_FROM, CERTS_TO);
    certs_make(&client, &ca, "CN=client", "", CERTS_FROM, CERTS_TO);
    certs_make(&stranger, &other_ca, "CN=stranger", "", CERTS_FROM, CERTS_TO);
    write_file(argv[1], "ca", ".pem", ca.pem);
    write_both(argv[1], "server", &server);
    write_both(argv[1], "client", &client);
    write_both(argv[1], "stranger", &stranger);
    certs_free(&ca);
    certs_free(&other_ca);
    return 0;
}
