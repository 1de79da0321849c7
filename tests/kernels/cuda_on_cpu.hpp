// Compiles the shipped .cu files as C++20 and runs them on the CPU, for tests on machines without a GPU.
//
//   g++ -std=c++20 -x c++ -D__CUDA_ARCH__=900 -include cuda_on_cpu.hpp kernel.cu
//
// Blocks run one after another; each CUDA thread of a block is a fibre with its own stack. A fibre runs until
// it meets a barrier or a warp collective, where it waits for the others. A barrier that not every thread can
// reach ends the launch with the number of the block instead of hanging.
//
// What this shows: index arithmetic, exactness, reads outside a buffer and misaligned reads (with the
// address and undefined sanitizers), shared arrays overrun. Compiled with -fsanitize=thread and linked with
// kernel_watch.cpp instead of that sanitizer's library, it also shows races between threads and blocks, missing
// fences, and reads of memory that nobody has written. What it cannot show: speed.
// What it takes: collectives over full warps, one-dimensional blocks, no inline PTX.
#pragma once
#include <setjmp.h>
#include <ucontext.h>
#if defined(__SSE2__)
#include <immintrin.h>
#endif

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <memory>
#include <tuple>
#include <utility>
#include <vector>

#define __global__
#define __device__
#define __host__
#define __launch_bounds__(...)
#define __align__(bytes) __attribute__((aligned(bytes)))
#define __constant__ static const

// What the watch of memory needs to know. Without it, nothing is called.
#if defined(__SANITIZE_THREAD__)
// The thread-local variables of a library lie in one block of memory: so the watch knows what is shared memory.
#define __shared__ static thread_local
// The compiler puts no call before "memory = function(...)" of a struct, except where the function is inlined.
#define __forceinline__ inline __attribute__((always_inline))
#define UNWATCHED __attribute__((no_sanitize("thread"), noinline))
#define WATCH(call) call
#else
#define __shared__ static
#define __forceinline__ inline
#define UNWATCHED
#define WATCH(call)
#endif
extern "C" {
void watch_block();                                                 // a block begins
void watch_fence();                                                 // the current thread passes a fence
void watch_atomic(const void* at, unsigned size, const void* code);  // the current thread changes memory
}

struct dim3 {
    unsigned x = 1, y = 1, z = 1;
};
struct alignas(16) uint4 {
    unsigned x, y, z, w;
};
__forceinline__ uint4 make_uint4(unsigned x, unsigned y, unsigned z, unsigned w) { return {x, y, z, w}; }

inline dim3 threadIdx, blockIdx, blockDim, gridDim;

namespace cuda_on_cpu {

// Threads that wait for each other: all of a block, or the 32 of a warp.
struct Meeting {
    unsigned expected = 0, arrived = 0;
    unsigned long generation = 0;
    unsigned long ordered = 0;  // meetings that put accesses to memory in order; collectives alone do not
    uint64_t values[2][32];  // what the lanes of a warp bring along; two sets, for the next may begin before all have read
};

struct Fibre {
    ucontext_t context;
    jmp_buf registers;
    bool started = false, done = false;
    const Meeting* waits_for = nullptr;
    unsigned long generation = 0;
};

constexpr std::size_t STACK = 128 << 10;
inline std::vector<std::unique_ptr<char[]>> stacks;
inline std::vector<Fibre> fibres;
inline std::vector<Meeting> warps;
inline Meeting block;
inline ucontext_t scheduler_context;
inline jmp_buf scheduler_registers;
inline unsigned current;
inline std::function<void()> body;

// setjmp and longjmp switch without the system call that swapcontext makes; the sanitizers only know the latter.
#if defined(__SANITIZE_ADDRESS__)
inline void leave() { swapcontext(&fibres[current].context, &scheduler_context); }
inline void enter(Fibre& fibre) { swapcontext(&scheduler_context, &fibre.context); }
#else
inline void leave() {
    if (_setjmp(fibres[current].registers) == 0) _longjmp(scheduler_registers, 1);
}
inline void enter(Fibre& fibre) {
    if (_setjmp(scheduler_registers) == 0) {
        if (fibre.started) _longjmp(fibre.registers, 1);
        fibre.started = true;
        setcontext(&fibre.context);
    }
}
#endif

inline void run_body() {
    body();
    fibres[current].done = true;
    leave();
    std::abort();
}

inline void meet(Meeting& meeting, bool orders) {
    Fibre& fibre = fibres[current];
    if (++meeting.arrived == meeting.expected) {
        meeting.arrived = 0;
        ++meeting.generation;
        meeting.ordered += orders;
        return;
    }
    fibre.waits_for = &meeting;
    fibre.generation = meeting.generation;
    leave();
}

// Returns whether all threads came to their end.
inline bool run_block() {
    WATCH(watch_block());
    const unsigned threads = blockDim.x;
    block = Meeting();
    block.expected = threads;
    warps.assign((threads + 31) / 32, Meeting());
    for (unsigned i = 0; i < threads; ++i) {
        ++warps[i / 32].expected;
        fibres[i] = Fibre();
        getcontext(&fibres[i].context);
        fibres[i].context.uc_stack.ss_sp = stacks[i].get();
        fibres[i].context.uc_stack.ss_size = STACK;
        fibres[i].context.uc_link = nullptr;
        makecontext(&fibres[i].context, run_body, 0);
    }
    unsigned live = threads;
    while (live) {
        bool moved = false;
        for (unsigned i = 0; i < threads; ++i) {
            Fibre& fibre = fibres[i];
            if (fibre.done || (fibre.waits_for && fibre.waits_for->generation == fibre.generation)) continue;
            fibre.waits_for = nullptr;
            moved = true;
            current = i;
            threadIdx.x = i;
            enter(fibre);
            live -= fibres[current].done;
        }
        if (!moved) return false;  // the fibres that wait are given up
    }
    return true;
}

template <typename... A, std::size_t... I>
unsigned run_grid(void (*kernel)(A...), unsigned grid_x, unsigned grid_y, unsigned threads, void** arguments,
                  std::index_sequence<I...>) {
    gridDim = {grid_x, grid_y, 1};
    blockDim = {threads, 1, 1};
    threadIdx = {0, 0, 0};
    fibres.resize(threads);
    while (stacks.size() < threads) stacks.emplace_back(new char[STACK]);
    std::tuple<std::remove_cv_t<A>...> values(*static_cast<std::remove_cv_t<A>*>(arguments[I])...);
    body = [&] { std::apply(kernel, values); };
    for (unsigned y = 0; y < grid_y; ++y)
        for (unsigned x = 0; x < grid_x; ++x) {
            blockIdx = {x, y, 0};
            if (!run_block()) return 1 + y * grid_x + x;
        }
    return 0;
}

// CuPy compiles with -ftz=true: arithmetic on floats takes subnormal numbers for 0. So does this CPU meanwhile, in
// doubles as well, where subnormal numbers are too small to come from floats.
struct FlushToZero {
#if defined(__SSE2__)
    const unsigned before = _mm_getcsr();
    FlushToZero() { _mm_setcsr(before | 0x8040); }  // results and operands
    ~FlushToZero() { _mm_setcsr(before); }
#endif
};

// As cudaLaunchKernel: arguments[i] points to the i-th argument. Returns 0, or 1 + the number of the block in which a
// barrier or a warp collective was not reached by all threads.
template <typename... A>
unsigned launch(void (*kernel)(A...), unsigned grid_x, unsigned grid_y, unsigned threads, void** arguments) {
    const FlushToZero flush;
    return run_grid(kernel, grid_x, grid_y, threads, arguments, std::index_sequence_for<A...>());
}

// The bytes of each argument of a kernel, and 0.
template <typename... A>
const unsigned* sizes(void (*)(A...)) {
    static const unsigned found[] = {sizeof(A)..., 0};
    return found;
}

// Every lane brings a value; returns all 32.
template <typename T>
const uint64_t* exchange(T value) {
    static_assert(sizeof(T) <= 8);
    Meeting& warp = warps[current / 32];
    uint64_t* values = warp.values[warp.generation & 1];
    values[current % 32] = 0;
    std::memcpy(&values[current % 32], &value, sizeof(T));
    meet(warp, false);
    return values;
}

template <typename T>
T unpack(uint64_t bits) {
    T value;
    std::memcpy(&value, &bits, sizeof(T));
    return value;
}

template <typename F>
unsigned lanewise(unsigned a, unsigned b, int bits, F f) {
    unsigned result = 0, mask = (1u << bits) - 1;
    for (int shift = 0; shift < 32; shift += bits) result |= (f((a >> shift) & mask, (b >> shift) & mask) & mask) << shift;
    return result;
}

}  // namespace cuda_on_cpu

// ---------------------------------------------------------------- barriers, warps, atomics

inline void __syncthreads() { cuda_on_cpu::meet(cuda_on_cpu::block, true); }
inline void __syncwarp(unsigned = ~0u) { cuda_on_cpu::meet(cuda_on_cpu::warps[cuda_on_cpu::current / 32], true); }
inline void __threadfence() { WATCH(watch_fence()); }

template <typename T>
T __shfl_xor_sync(unsigned, T value, int mask) {
    return cuda_on_cpu::unpack<T>(cuda_on_cpu::exchange(value)[(cuda_on_cpu::current % 32) ^ mask]);
}
template <typename T>
T __shfl_down_sync(unsigned, T value, unsigned delta) {
    const unsigned lane = cuda_on_cpu::current % 32;
    return cuda_on_cpu::unpack<T>(cuda_on_cpu::exchange(value)[lane + delta < 32 ? lane + delta : lane]);
}
inline unsigned __reduce_add_sync(unsigned, unsigned value) {
    const uint64_t* values = cuda_on_cpu::exchange(value);
    unsigned total = 0;
    for (int lane = 0; lane < 32; ++lane) total += (unsigned)values[lane];
    return total;
}
inline unsigned __reduce_max_sync(unsigned, unsigned value) {
    const uint64_t* values = cuda_on_cpu::exchange(value);
    return (unsigned)*std::max_element(values, values + 32);
}

template <typename T>
UNWATCHED T atomicAdd(T* at, T value) {
    WATCH(watch_atomic(at, sizeof(T), __builtin_return_address(0)));
    const T old = *at;
    *at = old + value;
    return old;
}
template <typename T>
UNWATCHED T atomicMax(T* at, T value) {
    WATCH(watch_atomic(at, sizeof(T), __builtin_return_address(0)));
    const T old = *at;
    *at = std::max(old, value);
    return old;
}

// ---------------------------------------------------------------- arithmetic

template <typename T>
__forceinline__ T __ldg(const T* at) {
    return *at;
}
template <typename T>
T max(T a, T b) {
    return a < b ? b : a;
}
template <typename T>
T min(T a, T b) {
    return b < a ? b : a;
}
inline float __uint_as_float(unsigned bits) { return cuda_on_cpu::unpack<float>(bits); }
inline unsigned __float_as_uint(float value) {
    unsigned bits;
    std::memcpy(&bits, &value, sizeof bits);
    return bits;
}
inline double __hiloint2double(int high, int low) {
    return cuda_on_cpu::unpack<double>((uint64_t)(unsigned)high << 32 | (unsigned)low);
}
inline unsigned __dp4a(unsigned a, unsigned b, unsigned c) {
    for (int shift = 0; shift < 32; shift += 8) c += ((a >> shift) & 255) * ((b >> shift) & 255);
    return c;
}
inline unsigned __byte_perm(unsigned x, unsigned y, unsigned selector) {
    const uint64_t bytes = (uint64_t)y << 32 | x;
    unsigned result = 0;
    for (int i = 0; i < 4; ++i) {
        const unsigned nibble = (selector >> (4 * i)) & 15;
        unsigned byte = (unsigned)(bytes >> (8 * (nibble & 7))) & 255;
        if (nibble & 8) byte = byte & 128 ? 255 : 0;
        result |= byte << (8 * i);
    }
    return result;
}
inline unsigned __funnelshift_r(unsigned low, unsigned high, unsigned shift) {
    return (unsigned)(((uint64_t)high << 32 | low) >> (shift & 31));
}
inline unsigned __vmaxu2(unsigned a, unsigned b) { return cuda_on_cpu::lanewise(a, b, 16, max<unsigned>); }
inline unsigned __vminu2(unsigned a, unsigned b) { return cuda_on_cpu::lanewise(a, b, 16, min<unsigned>); }
inline unsigned __vmaxu4(unsigned a, unsigned b) { return cuda_on_cpu::lanewise(a, b, 8, max<unsigned>); }
inline unsigned __vminu4(unsigned a, unsigned b) { return cuda_on_cpu::lanewise(a, b, 8, min<unsigned>); }
inline unsigned __vimax3_u16x2(unsigned a, unsigned b, unsigned c) { return __vmaxu2(__vmaxu2(a, b), c); }
inline unsigned __vimin3_u16x2(unsigned a, unsigned b, unsigned c) { return __vminu2(__vminu2(a, b), c); }
