// Watches the memory that kernels on the CPU share: g++ -fsanitize=thread puts a call before every access, and here are
// the functions that it calls, in the place of the sanitizer's library, which knows nothing of fibres and barriers.
//
// Two accesses to a byte, one of them a write, by two threads are a race unless something orders them:
//   * in a block: a __syncthreads between them, or in a warp a __syncwarp (collectives alone do not order memory);
//   * two atomics never race with each other;
//   * from block to block: the writer passes a __threadfence after its write; then an atomic of its block, which comes
//     after that fence, changes a byte; then an atomic of the reader's block changes the same byte; and the reader
//     passes a __threadfence after that, before it reads. "After" is in the same thread or behind a __syncthreads.
// A byte of shared memory is set when a thread of the block has written it; a byte of an output when it was cleared
// before the launch or was written. A read of other bytes is found. So is every access to the guards around outputs,
// images and tables, and every write to images and tables.
//
// The blocks of the grid run one after another here, but the rules take no advantage of it.
#include <link.h>

#include <map>

#include "cuda_on_cpu.hpp"

#undef __shared__
using cuda_on_cpu::current;

extern "C" {

void* __tls_get_addr(void*);

enum Kind : int { RACE, BLOCKS, UNSET, OUTSIDE };  // mirrored by KINDS in kernel_watch.py
enum Access : int { READ, WRITE, ATOMIC };
enum Region : int { INPUT, CLEARED, SCRATCH };

struct Finding {
    int kind, access, earlier;  // `earlier` is the access that this one races with
    int region;                 // the number of the region, or -1 for shared memory
    int64_t offset;             // in the region or in shared memory
    unsigned block, thread, earlier_block, earlier_thread;
    const void* code;
};
}

namespace {

constexpr unsigned SEVERAL = ~0u, NOBODY = ~0u - 1;

// Who made the accesses of one kind: all that can still race with a later one.
struct Seen {
    unsigned block = 0, thread = NOBODY, warp = 0;
    unsigned barrier = 0, sync = 0, fences = 0;  // how many __syncthreads, __syncwarp, __threadfence came before
};

struct Cell {
    Seen by[3];
    unsigned set_in = 0;  // the block that wrote it last
};

struct Area {
    uintptr_t begin, end, guard;
    Region region;
    int number;
    std::vector<Cell> cells;
};

// How many fences each thread of a block had passed before the block's atomic.
struct Published {
    unsigned block;
    std::vector<unsigned> fences;
};

// The atomic that told a block what other blocks have published.
struct Learned {
    uintptr_t at;
    std::size_t count;
    unsigned thread;
    unsigned long barrier;
};

struct Fences {
    unsigned now = 0, before_barrier = 0;
    unsigned long barrier = 0;
};

bool watching = false;  // during a launch; the calls also come from what runs at the exit, when nothing here exists
std::vector<Area> areas;
uintptr_t shared_begin = 0, shared_end = 0, areas_begin = 0, areas_end = 0;
std::vector<Cell> shared_cells;
std::vector<Finding> findings;
unsigned long found = 0;
unsigned blocks = 0, blocks_before = 0;  // blocks begun, in this launch and in those before it

std::vector<Fences> fences;
std::map<uintptr_t, std::vector<Published>> published;
std::vector<Learned> learned;
std::map<std::pair<unsigned, uintptr_t>, std::size_t> known;  // by thread and address
bool any_fence = false;

Seen me() {
    Seen seen;
    seen.block = blocks;
    seen.thread = current;
    seen.warp = current / 32;
    seen.barrier = (unsigned)cuda_on_cpu::block.ordered;
    seen.sync = (unsigned)cuda_on_cpu::warps[current / 32].ordered;
    seen.fences = fences[current].now;
    return seen;
}

bool visible(const Seen& earlier, const Seen& now) {
    if (earlier.thread == SEVERAL) return false;
    for (const auto& [key, count] : known)
        if (key.first == now.thread)
            for (std::size_t k = 0; k < count; ++k) {
                const Published& p = published[key.second][k];
                if (p.block == earlier.block && p.fences[earlier.thread] > earlier.fences) return true;
            }
    return false;
}

bool ordered(const Seen& earlier, const Seen& now, bool shared) {
    if (earlier.thread == NOBODY) return true;
    if (earlier.block != now.block) return shared || visible(earlier, now);
    if (earlier.barrier != now.barrier || earlier.thread == now.thread) return true;
    return earlier.warp == now.warp && earlier.sync != now.sync;
}

void add(Seen& seen, const Seen& now, bool shared) {
    if (seen.thread != NOBODY && seen.block != now.block && !ordered(seen, now, shared)) {
        seen.block = seen.thread = SEVERAL;
        return;
    }
    const bool fresh = seen.thread == NOBODY || seen.block != now.block || seen.barrier != now.barrier;
    if (fresh || (seen.warp == now.warp && seen.sync != now.sync)) {
        seen = now;
    } else if (seen.warp != now.warp) {
        seen.warp = seen.thread = SEVERAL;
    } else if (seen.thread != now.thread) {
        seen.thread = SEVERAL;
    } else {
        seen = now;
    }
}

void note(Kind kind, Access access, int earlier, int region, int64_t offset, const Seen& other, const void* code) {
    ++found;
    for (const Finding& f : findings)
        if (f.code == code && f.kind == kind) return;
    const auto number = [](unsigned block) { return block == SEVERAL ? SEVERAL : block - blocks_before - 1; };
    findings.push_back({kind, access, earlier, region, offset, number(blocks), current, number(other.block),
                        other.thread, code});
}

void touch(Cell& cell, const Seen& now, Access access, bool set, bool shared, int region, int64_t offset,
           const void* code) {
    if (!set && access != WRITE) note(UNSET, access, access, region, offset, now, code);
    for (int earlier : {READ, WRITE, ATOMIC}) {
        if (earlier == access && access != WRITE) continue;  // reads do not race with reads, nor atomics with atomics
        const Seen& other = cell.by[earlier];
        if (ordered(other, now, shared)) continue;
        note(other.block == now.block ? RACE : BLOCKS, access, earlier, region, offset, other, code);
    }
    add(cell.by[access], now, shared);
}

void watch(uintptr_t at, std::size_t size, Access access, const void* code) {
    if (!watching) return;
    if (at >= shared_begin && at < shared_end) {
        const Seen now = me();
        for (std::size_t k = at - shared_begin; k < at - shared_begin + size && k < shared_cells.size(); ++k) {
            Cell& cell = shared_cells[k];
            touch(cell, now, access, cell.set_in == blocks, true, -1, k, code);
            if (access != READ) cell.set_in = blocks;
        }
        return;
    }
    if (at >= areas_end || at + size <= areas_begin) return;
    for (Area& area : areas) {
        if (at >= area.end + area.guard || at + size <= area.begin - area.guard) continue;
        const int64_t offset = at - area.begin;
        const Seen now = me();
        if (at < area.begin || at + size > area.end || (area.region == INPUT && access != READ))
            note(OUTSIDE, access, access, area.number, offset, now, code);
        if (area.region == INPUT) return;
        for (std::size_t k = 0; k < size; ++k) {
            if (at + k < area.begin || at + k >= area.end) continue;
            Cell& cell = area.cells[offset + k];
            touch(cell, now, access, cell.set_in || area.region == CLEARED, false, area.number, offset + k, code);
            if (access != READ) cell.set_in = blocks;
        }
        return;
    }
}

// Finds the block of the thread-local variables of this library.
int find_shared(dl_phdr_info* info, std::size_t, void*) {
    const uintptr_t here = (uintptr_t)&find_shared;
    bool ours = false;
    std::size_t size = 0;
    for (int k = 0; k < info->dlpi_phnum; ++k) {
        const auto& part = info->dlpi_phdr[k];
        const uintptr_t begin = info->dlpi_addr + part.p_vaddr;
        ours |= part.p_type == PT_LOAD && here >= begin && here < begin + part.p_memsz;
        if (part.p_type == PT_TLS) size = part.p_memsz;
    }
    if (!ours) return 0;
    if (size) {
        struct {
            unsigned long module, offset;
        } place = {info->dlpi_tls_modid, 0};
        shared_begin = (uintptr_t)__tls_get_addr(&place);
        shared_end = shared_begin + size;
    }
    return 1;
}

}  // namespace

extern "C" {

// Forgets everything; the next launch touches the regions that are named after this.
void watch_begin() {
    areas.clear();
    areas_begin = ~(uintptr_t)0;
    areas_end = 0;
    findings.clear();
    found = 0;
    blocks_before = blocks;  // so that what was seen in shared memory before is of other blocks
    published.clear();
    any_fence = false;
    dl_iterate_phdr(find_shared, nullptr);
    shared_cells.resize(shared_end - shared_begin);
    watching = true;
}

void watch_region(uintptr_t begin, unsigned long size, unsigned long guard, int region, int number) {
    areas.push_back({begin, begin + size, guard, (Region)region, number, {}});
    if (region != INPUT) areas.back().cells.resize(size);
    areas_begin = std::min<uintptr_t>(areas_begin, begin - guard);
    areas_end = std::max<uintptr_t>(areas_end, begin + size + guard);
}

// Writes the first findings, one for each place in the code and kind; returns how many accesses were found at all.
unsigned long watch_end(Finding* first, unsigned long most, unsigned long* written) {
    watching = false;
    *written = std::min<unsigned long>(most, findings.size());
    std::copy(findings.begin(), findings.begin() + *written, first);
    return found;
}

void watch_block() {
    ++blocks;
    fences.assign(blockDim.x, Fences());
    learned.clear();
    known.clear();
}

void watch_fence() {
    const unsigned long barrier = cuda_on_cpu::block.ordered;
    Fences& mine = fences[current];
    if (mine.barrier != barrier) {
        mine.before_barrier = mine.now;
        mine.barrier = barrier;
    }
    ++mine.now;
    any_fence = true;
    for (const Learned& news : learned)
        if (news.thread == current || news.barrier != barrier) known[{current, news.at}] = news.count;
}

void watch_atomic(const void* at, unsigned size, const void* code) {
    watch((uintptr_t)at, size, ATOMIC, code);
    if (!any_fence || ((uintptr_t)at >= shared_begin && (uintptr_t)at < shared_end)) return;
    const unsigned long barrier = cuda_on_cpu::block.ordered;
    std::vector<Published>& all = published[(uintptr_t)at];
    if (!all.empty()) learned.push_back({(uintptr_t)at, all.size(), current, barrier});
    Published mine = {blocks, {}};
    for (unsigned t = 0; t < fences.size(); ++t) {
        const Fences& f = fences[t];
        mine.fences.push_back(t == current || f.barrier != barrier ? f.now : f.before_barrier);
    }
    all.push_back(mine);
}

void __tsan_init() {}
void __tsan_func_entry(void*) {}
void __tsan_func_exit() {}

#define ACCESSES(SIZE)                                                                                               \
    void __tsan_read##SIZE(void* at) { watch((uintptr_t)at, SIZE, READ, __builtin_return_address(0)); }              \
    void __tsan_write##SIZE(void* at) { watch((uintptr_t)at, SIZE, WRITE, __builtin_return_address(0)); }            \
    void __tsan_unaligned_read##SIZE(void* at) { watch((uintptr_t)at, SIZE, READ, __builtin_return_address(0)); }    \
    void __tsan_unaligned_write##SIZE(void* at) { watch((uintptr_t)at, SIZE, WRITE, __builtin_return_address(0)); }  \
    void __tsan_volatile_read##SIZE(void* at) { watch((uintptr_t)at, SIZE, READ, __builtin_return_address(0)); }     \
    void __tsan_volatile_write##SIZE(void* at) { watch((uintptr_t)at, SIZE, WRITE, __builtin_return_address(0)); }
ACCESSES(1)
ACCESSES(2)
ACCESSES(4)
ACCESSES(8)
ACCESSES(16)

void __tsan_read_range(void* at, unsigned long size) { watch((uintptr_t)at, size, READ, __builtin_return_address(0)); }
void __tsan_write_range(void* at, unsigned long size) { watch((uintptr_t)at, size, WRITE, __builtin_return_address(0)); }
void __tsan_vptr_read(void*) {}
void __tsan_vptr_update(void*, void*) {}
}
