/* How many multiply-accumulates of bytes a core can do: loops of one instruction that touch no memory.
 *
 *     peak INSTRUCTION THREADS MILLISECONDS
 *
 * prints GMAC/s of all threads together, the best of many short runs. vpmaddwd multiplies 16-bit integers, which is what
 * is left for exact sums of bytes where the CPU has no instruction for them.
 */
#define _GNU_SOURCE
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define REPEAT(F) F(0) F(1) F(2) F(3) F(4) F(5) F(6) F(7) F(8) F(9) F(10) F(11)
#define LOOP(BODY) "1:\n\t" BODY "dec %0\n\tjnz 1b\n\t"
#define CLOBBERS "cc", "memory", "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8", "xmm9", "xmm10", \
                 "xmm11", "xmm12", "xmm13", "xmm14", "xmm15"

/* Twelve sums that do not wait for each other hide the latency of five or fewer cycles of two such units. */
#define VPDPBUSD512(k) "vpdpbusd %%zmm12,%%zmm13,%%zmm" #k "\n\t"
#define VPDPBUSD256(k) "%{vex%} vpdpbusd %%ymm12,%%ymm13,%%ymm" #k "\n\t"
#define VPMADDWD512(k) "vpmaddwd %%zmm12,%%zmm13,%%zmm14\n\tvpaddd %%zmm14,%%zmm" #k ",%%zmm" #k "\n\t"
#define VPMADDWD256(k) "vpmaddwd %%ymm12,%%ymm13,%%ymm14\n\tvpaddd %%ymm14,%%ymm" #k ",%%ymm" #k "\n\t"

static void vpdpbusd512(uint64_t n) { __asm__ volatile(LOOP(REPEAT(VPDPBUSD512)) "vzeroupper" : "+r"(n) : : CLOBBERS); }
static void vpdpbusd256(uint64_t n) { __asm__ volatile(LOOP(REPEAT(VPDPBUSD256)) "vzeroupper" : "+r"(n) : : CLOBBERS); }
static void vpmaddwd512(uint64_t n) { __asm__ volatile(LOOP(REPEAT(VPMADDWD512)) "vzeroupper" : "+r"(n) : : CLOBBERS); }
static void vpmaddwd256(uint64_t n) { __asm__ volatile(LOOP(REPEAT(VPMADDWD256)) "vzeroupper" : "+r"(n) : : CLOBBERS); }

/* AMX: tiles of 16 rows of 64 bytes; four sums (2 × 2 tiles), as a kernel would have them. */
static void tdpbusd(uint64_t n)
{
    struct { uint8_t palette, start, reserved[14]; uint16_t columns[16]; uint8_t rows[16]; } __attribute__((packed)) shape;
    memset(&shape, 0, sizeof shape);
    shape.palette = 1;
    for (int tile = 0; tile < 8; tile++) { shape.columns[tile] = 64; shape.rows[tile] = 16; }
    __asm__ volatile("ldtilecfg %1\n\t"
                     "tilezero %%tmm0\n\ttilezero %%tmm1\n\ttilezero %%tmm2\n\ttilezero %%tmm3\n\t"
                     "tilezero %%tmm4\n\ttilezero %%tmm5\n\ttilezero %%tmm6\n\ttilezero %%tmm7\n\t"
                     LOOP("tdpbusd %%tmm6,%%tmm4,%%tmm0\n\ttdpbusd %%tmm7,%%tmm4,%%tmm1\n\t"
                          "tdpbusd %%tmm6,%%tmm5,%%tmm2\n\ttdpbusd %%tmm7,%%tmm5,%%tmm3\n\t")
                     "tilerelease" : "+r"(n) : "m"(shape) : "cc", "memory");
}

struct instruction { const char *name; void (*loop)(uint64_t); double macs; uint64_t steps; };
static const struct instruction KNOWN[] = {
    {"tdpbusd", tdpbusd, 4.0 * 16 * 16 * 64, 20000},
    {"vpdpbusd512", vpdpbusd512, 12.0 * 64, 100000},
    {"vpdpbusd256", vpdpbusd256, 12.0 * 32, 100000},
    {"vpmaddwd512", vpmaddwd512, 12.0 * 32, 100000},
    {"vpmaddwd256", vpmaddwd256, 12.0 * 16, 100000},
};

static const struct instruction *chosen;
static double milliseconds;
static pthread_barrier_t barrier;

static double now(void) { struct timespec t; clock_gettime(CLOCK_MONOTONIC, &t); return t.tv_sec + 1e-9 * t.tv_nsec; }

static void *run(void *result)
{
    double best = 0, end;
    pthread_barrier_wait(&barrier);
    end = now() + milliseconds * 1e-3;
    do {
        double start = now();
        chosen->loop(chosen->steps);
        double rate = chosen->steps * chosen->macs / (now() - start) * 1e-9;
        if (rate > best) best = rate;
    } while (now() < end);
    *(double *)result = best;
    return NULL;
}

int main(int count, char **words)
{
    if (count != 4) return 2;
    for (size_t i = 0; i < sizeof KNOWN / sizeof *KNOWN; i++)
        if (!strcmp(words[1], KNOWN[i].name)) chosen = &KNOWN[i];
    int threads = atoi(words[2]);
    milliseconds = atof(words[3]);
    if (!chosen || threads < 1 || threads > 1024) return 2;
    if (chosen->loop == tdpbusd && syscall(SYS_arch_prctl, 0x1023, 18)) return 3; /* ARCH_REQ_XCOMP_PERM, XTILEDATA */
    pthread_t handles[1024];
    double rates[1024], total = 0;
    pthread_barrier_init(&barrier, NULL, threads);
    for (int i = 0; i < threads; i++)
        if (pthread_create(&handles[i], NULL, run, &rates[i])) return 4;
    for (int i = 0; i < threads; i++) pthread_join(handles[i], NULL), total += rates[i];
    printf("%.2f\n", total);
    return 0;
}
