/* Intel AMX (tiles, int8) for processors without it: a handler of SIGILL that executes the instruction and goes on.

   Loaded into a process, or preloaded into one, it takes every illegal instruction. What is an AMX instruction is
   decoded and computed on tiles kept for each thread, with the checks of Intel's manual (a wrong shape, a tile that is
   not configured, two operands that are one tile end the process with a line on stderr); anything else falls to the
   default action. `amx_emulator_count` tells how often each instruction was executed, over all threads, and
   `amx_emulator_outside` how many loads that begin in the memory given to `amx_emulator_watch` read beyond it. */

#define _GNU_SOURCE
#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <ucontext.h>

enum { LDTILECFG, TILERELEASE, TILEZERO, TILELOADD, TILESTORED, TDPBUSD, INSTRUCTIONS };
enum { TILES = 8, ROWS = 16, BYTES = 64 };

struct tiles {
    int configured;
    uint16_t bytes[TILES];
    uint8_t rows[TILES];
    uint8_t data[TILES][ROWS][BYTES];
};

static atomic_long counts[INSTRUCTIONS];
static atomic_long outside;
static uint64_t watched_begin, watched_end;
static __thread struct tiles *state __attribute__((tls_model("initial-exec")));

long amx_emulator_count(int instruction) { return atomic_load(&counts[instruction]); }

long amx_emulator_outside(void) { return atomic_load(&outside); }

void amx_emulator_watch(uint64_t begin, uint64_t size) {
    watched_begin = begin;
    watched_end = begin + size;
    atomic_store(&outside, 0);
}

static void wrong(const char *what) {
    fprintf(stderr, "AMX: %s\n", what);
    abort();
}

static struct tiles *tiles(void) {
    if (state == NULL) {
        void *memory = mmap(NULL, sizeof(struct tiles), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (memory == MAP_FAILED) wrong("no memory for tiles");
        state = memory;
    }
    return state;
}

/* A decoded instruction: opcode and prefix, register fields, and the memory operand's parts. */
struct instruction {
    int opcode, prefix, reg, other, rm, memory;
    uint64_t base, index;
    int length;
};

static uint64_t general(const ucontext_t *context, int number) {
    static const int places[16] = {REG_RAX, REG_RCX, REG_RDX, REG_RBX, REG_RSP, REG_RBP, REG_RSI, REG_RDI,
                                   REG_R8,  REG_R9,  REG_R10, REG_R11, REG_R12, REG_R13, REG_R14, REG_R15};
    return (uint64_t)context->uc_mcontext.gregs[places[number]];
}

/* Memory operand from ModRM on: `base` is the address without the index register, `index` that times its scale. */
static const uint8_t *operand(const ucontext_t *context, const uint8_t *code, struct instruction *found, int rex) {
    int modrm = *code++, mod = modrm >> 6, rm = modrm & 7;
    int relative = 0;
    found->reg = (modrm >> 3 & 7) | (rex & 4) << 1;
    found->rm = rm | (rex & 1) << 3;
    found->memory = mod != 3;
    if (mod == 3) return code;
    if (rm == 4) {
        int sib = *code++, index = (sib >> 3 & 7) | (rex & 2) << 2, base = (sib & 7) | (rex & 1) << 3;
        if (index != 4) found->index = general(context, index) << (sib >> 6);
        if ((sib & 7) == 5 && mod == 0) mod = 4;
        else found->base = general(context, base);
    } else if (rm == 5 && mod == 0) {
        relative = 1;
        mod = 4;
    } else {
        found->base = general(context, rm | (rex & 1) << 3);
    }
    if (mod == 1) found->base += (uint64_t)(int64_t)(int8_t)*code++;
    if (mod == 2 || mod == 4) {
        int32_t offset;
        memcpy(&offset, code, 4);
        code += 4;
        found->base += (uint64_t)(int64_t)offset;
    }
    if (relative) found->base += (uint64_t)code;
    return code;
}

static int decode(const ucontext_t *context, struct instruction *found) {
    const uint8_t *start = (const uint8_t *)context->uc_mcontext.gregs[REG_RIP], *code = start;
    memset(found, 0, sizeof *found);
    if (code[0] != 0xc4 || (code[1] & 31) != 2 || (code[2] & 0x84) != 0) return 0;
    int rex = ~code[1] >> 5 & 7;
    found->prefix = code[2] & 3;
    found->other = ~code[2] >> 3 & 15;
    found->opcode = code[3];
    if (found->opcode != 0x49 && found->opcode != 0x4b && found->opcode != 0x5e) return 0;
    found->length = (int)(operand(context, code + 4, found, rex) - start);
    return 1;
}

static void configure(const uint8_t *memory) {
    struct tiles *all = tiles();
    memset(all, 0, sizeof *all);
    if (memory[0] == 0) return;
    if (memory[0] != 1) wrong("the configuration's palette is neither 0 nor 1");
    for (int place = 1; place < 16; place++)
        if (memory[place] != 0) wrong("reserved bytes of the configuration are not zero");
    for (int tile = 0; tile < 16; tile++) {
        int bytes = memory[16 + 2 * tile] | memory[17 + 2 * tile] << 8, rows = memory[48 + tile];
        if (bytes > BYTES || rows > ROWS || (bytes == 0) != (rows == 0)) wrong("a tile's shape cannot be");
        if (tile >= TILES && rows != 0) wrong("a tile is configured that does not exist");
        if (tile >= TILES) continue;
        all->bytes[tile] = (uint16_t)bytes;
        all->rows[tile] = (uint8_t)rows;
    }
    all->configured = 1;
}

static int usable(int tile) {
    struct tiles *all = tiles();
    if (!all->configured || tile >= TILES || all->rows[tile] == 0) wrong("a tile is used that is not configured");
    return tile;
}

static void load(int tile, uint64_t base, uint64_t stride) {
    struct tiles *all = tiles();
    memset(all->data[usable(tile)], 0, ROWS * BYTES);
    uint64_t end = base + (all->rows[tile] - 1) * stride + all->bytes[tile];
    if (base >= watched_begin && base < watched_end && end > watched_end) atomic_fetch_add(&outside, 1);
    for (int row = 0; row < all->rows[tile]; row++)
        memcpy(all->data[tile][row], (const void *)(base + row * stride), all->bytes[tile]);
}

static void store(int tile, uint64_t base, uint64_t stride) {
    struct tiles *all = tiles();
    usable(tile);
    for (int row = 0; row < all->rows[tile]; row++)
        memcpy((void *)(base + row * stride), all->data[tile][row], all->bytes[tile]);
}

static void multiply(int sums, int data, int weights) {
    struct tiles *all = tiles();
    usable(sums), usable(data), usable(weights);
    if (sums == data || sums == weights || data == weights) wrong("two operands of a product are one tile");
    if (all->rows[sums] != all->rows[data] || all->bytes[sums] != all->bytes[weights] ||
        all->bytes[data] != 4 * all->rows[weights] || all->bytes[sums] % 4 != 0)
        wrong("the shapes of a product do not fit");
    for (int row = 0; row < all->rows[sums]; row++) {
        int32_t line[BYTES / 4];
        memcpy(line, all->data[sums][row], BYTES);
        for (int quad = 0; quad < all->rows[weights]; quad++)
            for (int column = 0; column < all->bytes[sums] / 4; column++)
                for (int byte = 0; byte < 4; byte++)
                    line[column] += all->data[data][row][4 * quad + byte] *
                                    (int8_t)all->data[weights][quad][4 * column + byte];
        memcpy(all->data[sums][row], line, BYTES);
    }
}

static int execute(const struct instruction *found) {
    if (found->opcode == 0x49 && found->prefix == 0 && found->memory)
        return configure((const uint8_t *)(found->base + found->index)), LDTILECFG;
    if (found->opcode == 0x49 && found->prefix == 0 && !found->memory && found->rm == 0)
        return memset(tiles(), 0, sizeof(struct tiles)), TILERELEASE;
    if (found->opcode == 0x49 && found->prefix == 3 && !found->memory)
        return memset(tiles()->data[usable(found->reg)], 0, ROWS * BYTES), TILEZERO;
    if (found->opcode == 0x4b && (found->prefix == 3 || found->prefix == 1) && found->memory)
        return load(found->reg, found->base, found->index), TILELOADD;
    if (found->opcode == 0x4b && found->prefix == 2 && found->memory)
        return store(found->reg, found->base, found->index), TILESTORED;
    if (found->opcode == 0x5e && found->prefix == 1 && !found->memory)
        return multiply(found->reg, found->rm, found->other), TDPBUSD;
    return -1;
}

static void handle(int signal_number, siginfo_t *information, void *opaque) {
    ucontext_t *context = opaque;
    struct instruction found;
    int executed = decode(context, &found) ? execute(&found) : -1;
    (void)information;
    if (executed < 0) {
        signal(signal_number, SIG_DFL); /* the instruction is tried again, and ends the process */
        return;
    }
    atomic_fetch_add(&counts[executed], 1);
    context->uc_mcontext.gregs[REG_RIP] += found.length;
}

__attribute__((constructor)) static void install(void) {
    struct sigaction action;
    memset(&action, 0, sizeof action);
    action.sa_sigaction = handle;
    action.sa_flags = SA_SIGINFO | SA_NODEFER;
    sigaction(SIGILL, &action, NULL);
}
