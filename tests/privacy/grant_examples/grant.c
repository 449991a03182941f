/* cc grant.c -lcrypto -o grant; ./grant SECRET HOST COUNTER MASK_EPOCH '"audio","text"' prints a signed grant. */
#include <openssl/evp.h>
#include <stdio.h>
#include <string.h>

static void hex(char *out, const unsigned char *bytes, size_t n) {
    for (size_t i = 0; i < n; i++) sprintf(out + 2 * i, "%02x", bytes[i]);
}

int main(int count, char **args) {
    if (count != 6 || strlen(args[1]) != 64 || strlen(args[2]) != 64 || strlen(args[5]) > 100) return 2;
    unsigned char secret[32], public[32], signature[64];
    char key[65], signature_hex[129] = "", canonical[1024];
    size_t n = sizeof public, m = sizeof signature;
    for (int i = 0; i < 32; i++) sscanf(args[1] + 2 * i, "%2hhx", &secret[i]);
    EVP_PKEY *pair = EVP_PKEY_new_raw_private_key(EVP_PKEY_ED25519, NULL, secret, sizeof secret);
    EVP_MD_CTX *context = EVP_MD_CTX_new();
    if (!pair || EVP_PKEY_get_raw_public_key(pair, public, &n) != 1) return 1;
    hex(key, public, n);
    const char *form = "%s{\"counter\":%s,\"host\":\"%s\",\"key\":\"%s\",\"kind\":\"grant\",\"mask_epoch\":%s,"
                       "\"modalities\":[%s],\"signature\":\"%s\"}";
    int length = snprintf(canonical, sizeof canonical, form, "Grant\n", args[3], args[2], key, args[4], args[5], "");
    if (EVP_DigestSignInit(context, NULL, NULL, NULL, pair) != 1 ||
        EVP_DigestSign(context, signature, &m, (unsigned char *)canonical, length) != 1) return 1;
    hex(signature_hex, signature, m);
    printf(form, "", args[3], args[2], key, args[4], args[5], signature_hex);
    return 0;
}
