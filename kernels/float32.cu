// Per-image, per-channel moments of a ragged batch of float32 images, any number of channels.
//
// Computes, for every row (one image, or one plane of a planar image) and channel: a shift k, the sum of (x - k)
// and of (x - k)^2 in float64, minimum and maximum, how many values were not finite (they are left out of all
// the rest), and how many values were read. k is the first finite value among the channel's first
// SHIFT_CANDIDATES, or 0: close to the mean as images go, so the squares do not cancel when the variance is taken.
//
// Inputs
//   segments      one Segment a row; element (p, c) of a row is at p * pixel_stride + c * channel_stride
//   tile_segment  for every tile (= column of blocks) the row it belongs to; rows without pixels have no tile
//   tile_pixels, channels, pixel_stride (in elements)
// Outputs
//   results   Result [rows][channels]; zero-filled by the caller, so that rows without pixels read as counts of 0
//   partials  Partial [tiles][channels]; scratch, need not be filled
//   tickets   u32 [rows][windows]; zero-filled by the caller
//
// The same image gives the same bits at any address and in any batch: which thread adds which
// pixel depends on the pixel's index alone (tile_pixels must be a function of the number of channels only), and
// tiles are added in a fixed order by the block that finishes last, with compensated addition
// (TwoSum: Knuth, The Art of Computer Programming, vol. 2, 4.2.2, theorem B). Compile without fast-math.
//
// CuPy compiles with -ftz=true and nothing undoes that: arithmetic on floats, also a conversion or a minimum, takes
// subnormal numbers for 0. So there is none here: floats are compared and widened by their bits, and double has no ftz.
//
// Launch: grid = (tiles, windows of WINDOW channels), block = THREADS. A thread keeps to one channel; with
// interleaved channels neighbouring threads read neighbouring addresses. 4-byte loads are aligned wherever the
// row starts, and UNROLL of them in flight keep the memory busy.

struct alignas(16) Result {
    double sum, square, shift;
    float low, high;
    u64 nonfinite, count;
};

struct alignas(16) Partial {
    double sum, sum_rest, square, square_rest;
    u64 nonfinite, count;
    u32 low, high;  // as sortable() has them
    u64 reserved;
};

constexpr int THREADS = 256;
constexpr int WINDOW = THREADS;
constexpr int UNROLL = 8;
constexpr int SHIFT_CANDIDATES = 64;

__device__ __forceinline__ bool finite(float x) { return (__float_as_uint(x) & 0x7f800000u) != 0x7f800000u; }

// Bits that are in the same order as the floats, and back; not for NaN.
__device__ __forceinline__ u32 sortable(u32 bits) { return bits ^ (bits >> 31 ? 0xffffffffu : 0x80000000u); }
__device__ __forceinline__ float unsorted(u32 key) {
    return __uint_as_float(key ^ (key >> 31 ? 0x80000000u : 0xffffffffu));
}

// A finite float as double.
__device__ __forceinline__ double widened(float x) {
    const u32 bits = __float_as_uint(x), sign = bits & 0x80000000u, size = bits & 0x7fffffffu;
    // A float has 23 bits of fraction and a bias of 127, a double has 52 and 1023.
    if (size >= 0x00800000u) return __hiloint2double(sign | ((size >> 3) + 0x38000000u), bits << 29);
    const double number = (double)size * 0x1p-149;  // 0 or subnormal
    return sign ? -number : number;
}

// (sum, rest) += (value, value_rest)
__device__ __forceinline__ void add(double& sum, double& rest, double value, double value_rest) {
    const double total = sum + value;
    const double part = total - sum;
    rest += (sum - (total - part)) + (value - part) + value_rest;
    sum = total;
}

__device__ __forceinline__ void merge(Partial& a, const Partial& b) {
    add(a.sum, a.sum_rest, b.sum, b.sum_rest);
    add(a.square, a.square_rest, b.square, b.square_rest);
    a.nonfinite += b.nonfinite;
    a.count += b.count;
    a.low = min(a.low, b.low);
    a.high = max(a.high, b.high);
}

__device__ __forceinline__ Partial nothing() {
    Partial none = {0.0, 0.0, 0.0, 0.0, 0, 0, sortable(0x7f800000u), sortable(0xff800000u), 0};
    return none;
}

// Merges the slots of each channel (thread = slot * width + channel) pairwise; slot 0 ends up with the total.
__device__ __forceinline__ void merge_slots(Partial* shared, Partial& mine, u32 thread, u32 width, u32 slots) {
    shared[thread] = mine;
    __syncthreads();
    for (u32 reach = THREADS / 2; reach; reach >>= 1) {
        const u32 slot = thread / width;
        if (slot < reach && slot + reach < slots) {
            merge(mine, shared[thread + reach * width]);
            shared[thread] = mine;
        }
        __syncthreads();
    }
}

extern "C" __global__ void __launch_bounds__(THREADS)
    moments_f32(const Segment* __restrict__ segments, const u32* __restrict__ tile_segment, u32 tile_pixels,
                u32 channels, u32 pixel_stride, Result* results, Partial* partials, u32* tickets) {
    __shared__ Partial shared[THREADS];
    __shared__ float shifts[WINDOW];
    __shared__ u32 arrived;

    const u32 row = tile_segment[blockIdx.x];
    const Segment segment = segments[row];
    const u32 first = blockIdx.y * WINDOW;
    const u32 width = channels - first < WINDOW ? channels - first : WINDOW;
    const u32 slots = THREADS / width;
    const u32 thread = threadIdx.x, slot = thread / width, channel = thread % width;
    const bool active = slot < slots;  // the threads left over when width does not divide THREADS only wait
    const u64 begin = (u64)(blockIdx.x - segment.first_tile) * tile_pixels;
    const u64 left = segment.pixels - begin;
    const u32 pixels = left < tile_pixels ? (u32)left : tile_pixels;
    const float* const plane = (const float*)segment.address + (first + channel) * segment.channel_stride;

    if (thread < width) {
        float shift = 0.0f;
        for (u32 p = 0; p < SHIFT_CANDIDATES && p < segment.pixels; ++p) {
            const float x = __ldg(plane + (u64)p * pixel_stride);
            if (finite(x)) {
                shift = x;
                break;
            }
        }
        shifts[thread] = shift;
    }
    __syncthreads();

    Partial mine = nothing();
    const double shift = widened(shifts[channel]);
    if (active) {
        const float* const start = plane + begin * pixel_stride;
        u32 p = slot, nonfinite = 0, count = 0;
        double sum = 0.0, square = 0.0;
        u32 low = mine.low, high = mine.high;
        while (p < pixels) {
            float x[UNROLL];
            const bool whole = p + (UNROLL - 1) * slots < pixels;
#pragma unroll
            for (int k = 0; k < UNROLL; ++k)
                if (whole || p + k * slots < pixels) x[k] = __ldg(start + (u64)(p + k * slots) * pixel_stride);
#pragma unroll
            for (int k = 0; k < UNROLL; ++k) {
                if (whole || p + k * slots < pixels) {
                    ++count;
                    if (finite(x[k])) {
                        const double away = widened(x[k]) - shift;
                        const u32 key = sortable(__float_as_uint(x[k]));
                        sum += away;
                        square = fma(away, away, square);
                        low = min(low, key);
                        high = max(high, key);
                    } else {
                        ++nonfinite;
                    }
                }
            }
            p += UNROLL * slots;
        }
        mine.sum = sum;
        mine.square = square;
        mine.low = low;
        mine.high = high;
        mine.nonfinite = nonfinite;
        mine.count = count;
    }
    merge_slots(shared, mine, thread, width, slots);
    if (thread < width) partials[(u64)blockIdx.x * channels + first + thread] = mine;

    // The block that takes the row's last ticket adds the tiles up; all others are done.
    const u64 row_tiles = (segment.pixels + tile_pixels - 1) / tile_pixels;
    __threadfence();
    __syncthreads();
    if (thread == 0) arrived = atomicAdd(tickets + (u64)row * gridDim.y + blockIdx.y, 1u);
    __syncthreads();
    if (arrived != (u32)row_tiles - 1) return;
    __threadfence();

    mine = nothing();
    if (active) {
        for (u64 tile = slot; tile < row_tiles; tile += slots)
            merge(mine, partials[(segment.first_tile + tile) * channels + first + channel]);
    }
    merge_slots(shared, mine, thread, width, slots);
    if (thread < width) {
        Result& result = results[(u64)row * channels + first + thread];
        result.sum = mine.sum + mine.sum_rest;
        result.square = mine.square + mine.square_rest;
        result.shift = shift;
        result.low = unsorted(mine.low);
        result.high = unsorted(mine.high);
        result.nonfinite = mine.nonfinite;
        result.count = mine.count;
    }
}
