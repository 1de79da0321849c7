// CUDA's runtime and driver in host memory, as far as CuPy needs them to run our kernels: for tests/kernels/cupy_on_host.py.
//
// What is queued on a stream is done when somebody waits for it and no sooner, so that waiting too little shows. A copy
// or a fill must lie within one allocation. Fresh memory is full of rubbish. A kernel is the function
// that the CPU stand-in was compiled to; its arguments are copied at the launch, as a device does.
//
// Environment: GPUSTATS_HOST_KERNELS, the libraries of the stand-in, separated by colons;
// GPUSTATS_HOST_CUDA_FAILS="NAME:N", a function whose N-th call fails, counted from 1.

#include <cuda.h>
#include <cuda_runtime.h>
#include <dlfcn.h>

#include <cstdlib>
#include <cstring>
#include <functional>
#include <map>
#include <mutex>
#include <new>
#include <string>
#include <vector>

namespace {

enum class Place { device, pinned };

struct Queue {
    std::vector<std::function<void()>> work;
    size_t done = 0;

    void run_until(size_t end) {
        while (done < end) work[done++]();
    }
};

struct Mark {
    Queue* queue = nullptr;
    size_t end = 0;

    bool passed() const { return !queue || queue->done >= end; }
};

struct Kernel {
    unsigned (*run)(unsigned, unsigned, unsigned, void**);
    std::vector<unsigned> sizes;
};

std::recursive_mutex mutex;
std::map<char*, std::pair<size_t, Place>> allocations;
std::map<cudaStream_t, Queue*> queues;
std::map<std::string, unsigned> calls;  // of what should fail, by the whole text that says so
std::vector<void*> libraries;

using Lock = std::lock_guard<std::recursive_mutex>;

// Whether this call of a function should fail.
bool fails(const char* name) {
    const char* asked = std::getenv("GPUSTATS_HOST_CUDA_FAILS");
    if (!asked) return false;
    const std::string text = asked, called = name;
    const size_t colon = text.find(':');
    return text.substr(0, colon) == called && ++calls[text] == std::stoul(text.substr(colon + 1));
}

Queue* queue_of(cudaStream_t stream) {
    Queue*& queue = queues[stream];
    if (!queue) queue = new Queue;
    return queue;
}

void run_all() {
    for (auto& entry : queues) entry.second->run_until(entry.second->work.size());
}

cudaError_t allocate(void** target, size_t size, Place place, const char* name) {
    Lock lock(mutex);
    if (fails(name)) return cudaErrorMemoryAllocation;
    char* memory = static_cast<char*>(std::aligned_alloc(256, (size + 511) / 256 * 256));
    std::memset(memory, 0xA5, size);
    allocations[memory] = {size, place};
    *target = memory;
    return cudaSuccess;
}

cudaError_t release(void* memory, Place place) {
    Lock lock(mutex);
    if (!memory) return cudaSuccess;
    run_all();  // cudaFree waits
    const auto found = allocations.find(static_cast<char*>(memory));
    if (found == allocations.end() || found->second.second != place) return cudaErrorInvalidValue;
    allocations.erase(found);
    std::free(memory);
    return cudaSuccess;
}

// Whether some bytes lie within one allocation of a kind.
bool lies(const void* start, size_t size, Place place) {
    const char* first = static_cast<const char*>(start);
    auto found = allocations.upper_bound(const_cast<char*>(first));
    if (found == allocations.begin()) return false;
    --found;
    return found->second.second == place && first + size <= found->first + found->second.first;
}

// Memory that is not pinned is read before this returns, and written.
cudaError_t copy(void* target, const void* source, size_t size, cudaMemcpyKind kind, Queue* queue) {
    Lock lock(mutex);
    const bool to_device = kind == cudaMemcpyHostToDevice, from_device = kind == cudaMemcpyDeviceToHost;
    const bool inside = kind == cudaMemcpyDeviceToDevice;
    if (!to_device && !from_device && !inside) return cudaErrorInvalidValue;
    if ((to_device || inside) && !lies(target, size, Place::device)) return cudaErrorInvalidValue;
    if ((from_device || inside) && !lies(source, size, Place::device)) return cudaErrorInvalidValue;
    if (to_device && !lies(source, size, Place::pinned)) {
        const std::string kept(static_cast<const char*>(source), size);
        queue->work.push_back([=] { std::memcpy(target, kept.data(), size); });
        return cudaSuccess;
    }
    queue->work.push_back([=] { std::memcpy(target, source, size); });
    if (from_device && !lies(target, size, Place::pinned)) queue->run_until(queue->work.size());
    return cudaSuccess;
}

cudaError_t fill(void* target, int value, size_t size, Queue* queue) {
    Lock lock(mutex);
    if (!lies(target, size, Place::device)) return cudaErrorInvalidValue;
    queue->work.push_back([=] { std::memset(target, value, size); });
    return cudaSuccess;
}

}  // namespace

#pragma GCC visibility push(default)
extern "C" {

// ---------------------------------------------------------------- runtime: one device like an H100

const char* cudaGetErrorName(cudaError_t error) {
    return error == cudaErrorMemoryAllocation ? "cudaErrorMemoryAllocation" : "cudaErrorInvalidValue";
}
const char* cudaGetErrorString(cudaError_t error) {
    return error == cudaErrorMemoryAllocation ? "out of memory" : "invalid argument";
}
cudaError_t cudaGetLastError() { return cudaSuccess; }
cudaError_t cudaDriverGetVersion(int* version) { return *version = CUDART_VERSION, cudaSuccess; }
cudaError_t cudaRuntimeGetVersion(int* version) { return *version = CUDART_VERSION, cudaSuccess; }
cudaError_t cudaGetDeviceCount(int* count) { return *count = 1, cudaSuccess; }
cudaError_t cudaGetDevice(int* device) { return *device = 0, cudaSuccess; }
cudaError_t cudaSetDevice(int device) { return device ? cudaErrorInvalidDevice : cudaSuccess; }
cudaError_t cudaDeviceGetAttribute(int* value, cudaDeviceAttr attribute, int) {
    *value = attribute == cudaDevAttrComputeCapabilityMajor ? 9 : 0;
    return cudaSuccess;
}
cudaError_t cudaGetDeviceProperties(cudaDeviceProp* properties, int) {
    *properties = {};
    std::strcpy(properties->name, "CUDA in host memory");
    properties->major = 9;
    return cudaSuccess;
}
cudaError_t cudaDeviceSynchronize() {
    Lock lock(mutex);
    run_all();
    return cudaSuccess;
}

cudaError_t cudaMalloc(void** memory, size_t size) { return allocate(memory, size, Place::device, "cudaMalloc"); }
cudaError_t cudaHostAlloc(void** memory, size_t size, unsigned) {
    return allocate(memory, size, Place::pinned, "cudaHostAlloc");
}
cudaError_t cudaFree(void* memory) { return release(memory, Place::device); }
cudaError_t cudaFreeHost(void* memory) { return release(memory, Place::pinned); }
cudaError_t cudaMemGetInfo(size_t* free, size_t* total) { return *free = *total = size_t(1) << 36, cudaSuccess; }
cudaError_t cudaPointerGetAttributes(cudaPointerAttributes* attributes, const void* memory) {
    Lock lock(mutex);
    *attributes = {};
    attributes->type = lies(memory, 1, Place::device) ? cudaMemoryTypeDevice : cudaMemoryTypeHost;
    attributes->devicePointer = attributes->hostPointer = const_cast<void*>(memory);
    return cudaSuccess;
}

cudaError_t cudaMemcpyAsync(void* target, const void* source, size_t size, cudaMemcpyKind kind, cudaStream_t stream) {
    return fails("cudaMemcpyAsync") ? cudaErrorInvalidValue : copy(target, source, size, kind, queue_of(stream));
}
cudaError_t cudaMemcpy(void* target, const void* source, size_t size, cudaMemcpyKind kind) {
    Lock lock(mutex);
    run_all();
    const cudaError_t error = copy(target, source, size, kind, queue_of(nullptr));
    run_all();
    return error;
}
cudaError_t cudaMemsetAsync(void* target, int value, size_t size, cudaStream_t stream) {
    return fails("cudaMemsetAsync") ? cudaErrorInvalidValue : fill(target, value, size, queue_of(stream));
}

cudaError_t cudaStreamCreateWithFlags(cudaStream_t* stream, unsigned) {
    Lock lock(mutex);
    *stream = reinterpret_cast<cudaStream_t>(new Queue);
    queues[*stream] = reinterpret_cast<Queue*>(*stream);
    return cudaSuccess;
}
cudaError_t cudaStreamCreate(cudaStream_t* stream) { return cudaStreamCreateWithFlags(stream, 0); }
cudaError_t cudaStreamCreateWithPriority(cudaStream_t* stream, unsigned flags, int) {
    return cudaStreamCreateWithFlags(stream, flags);
}
cudaError_t cudaStreamDestroy(cudaStream_t) { return cudaSuccess; }
cudaError_t cudaStreamQuery(cudaStream_t stream) {
    Lock lock(mutex);
    Queue* const queue = queue_of(stream);
    return queue->done == queue->work.size() ? cudaSuccess : cudaErrorNotReady;
}
cudaError_t cudaStreamSynchronize(cudaStream_t stream) {
    Lock lock(mutex);
    Queue* const queue = queue_of(stream);
    queue->run_until(queue->work.size());
    return cudaSuccess;
}

cudaError_t cudaStreamIsCapturing(cudaStream_t, cudaStreamCaptureStatus* status) {
    return *status = cudaStreamCaptureStatusNone, cudaSuccess;
}

cudaError_t cudaEventCreateWithFlags(cudaEvent_t* event, unsigned) {
    *event = reinterpret_cast<cudaEvent_t>(new Mark);
    return cudaSuccess;
}
cudaError_t cudaEventDestroy(cudaEvent_t event) {
    delete reinterpret_cast<Mark*>(event);
    return cudaSuccess;
}
cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t stream) {
    Lock lock(mutex);
    if (fails("cudaEventRecord")) return cudaErrorInvalidValue;
    Queue* const queue = queue_of(stream);
    *reinterpret_cast<Mark*>(event) = {queue, queue->work.size()};
    return cudaSuccess;
}
cudaError_t cudaEventQuery(cudaEvent_t event) {
    Lock lock(mutex);
    return reinterpret_cast<Mark*>(event)->passed() ? cudaSuccess : cudaErrorNotReady;
}
cudaError_t cudaEventSynchronize(cudaEvent_t event) {
    Lock lock(mutex);
    if (fails("cudaEventSynchronize")) return cudaErrorInvalidValue;
    const Mark mark = *reinterpret_cast<Mark*>(event);
    if (mark.queue) mark.queue->run_until(mark.end);
    return cudaSuccess;
}

// ---------------------------------------------------------------- driver: modules and launches

CUresult cuGetErrorName(CUresult, const char** name) { return *name = "CUDA_ERROR_UNKNOWN", CUDA_SUCCESS; }
CUresult cuGetErrorString(CUresult, const char** text) { return *text = "unknown error", CUDA_SUCCESS; }
CUresult cuCtxGetCurrent(CUcontext* context) { return *context = reinterpret_cast<CUcontext>(&mutex), CUDA_SUCCESS; }
CUresult cuCtxSetCurrent(CUcontext) { return CUDA_SUCCESS; }
CUresult cuCtxGetDevice(CUdevice* device) { return *device = 0, CUDA_SUCCESS; }

CUresult cuModuleLoadData(CUmodule* module, const void* image) {
    Lock lock(mutex);
    if (std::memcmp(image, "\x7f" "ELF", 4) || fails("cuModuleLoadData")) return CUDA_ERROR_INVALID_IMAGE;
    if (libraries.empty()) {
        const std::string paths = std::getenv("GPUSTATS_HOST_KERNELS");
        for (size_t start = 0; start < paths.size();) {
            const size_t end = std::min(paths.find(':', start), paths.size());
            libraries.push_back(dlopen(paths.substr(start, end - start).c_str(), RTLD_NOW | RTLD_LOCAL));
            start = end + 1;
        }
    }
    *module = reinterpret_cast<CUmodule>(&libraries);
    return CUDA_SUCCESS;
}
CUresult cuModuleUnload(CUmodule) { return CUDA_SUCCESS; }
CUresult cuModuleGetFunction(CUfunction* function, CUmodule, const char* name) {
    Lock lock(mutex);
    for (void* library : libraries) {
        void* const run = library ? dlsym(library, (std::string("cpu_") + name).c_str()) : nullptr;
        if (!run) continue;
        Kernel* const kernel = new Kernel;
        kernel->run = reinterpret_cast<decltype(kernel->run)>(run);
        const auto sizes = reinterpret_cast<const unsigned* (*)()>(dlsym(library, (std::string("sizes_") + name).c_str()));
        for (const unsigned* size = sizes(); *size; ++size) kernel->sizes.push_back(*size);
        *function = reinterpret_cast<CUfunction>(kernel);
        return CUDA_SUCCESS;
    }
    return CUDA_ERROR_NOT_FOUND;
}
CUresult cuLaunchKernel(CUfunction function, unsigned x, unsigned y, unsigned z, unsigned threads, unsigned, unsigned,
                        unsigned, CUstream stream, void** arguments, void**) {
    Lock lock(mutex);
    if (!x || !y || z != 1 || fails("cuLaunchKernel")) return CUDA_ERROR_INVALID_VALUE;
    const Kernel* const kernel = reinterpret_cast<Kernel*>(function);
    std::vector<std::vector<char>> kept;
    for (size_t i = 0; i < kernel->sizes.size(); ++i) {
        const char* const value = static_cast<char*>(arguments[i]);
        kept.emplace_back(value, value + kernel->sizes[i]);
    }
    queue_of(stream)->work.push_back([=]() mutable {
        std::vector<void*> pointers;
        for (auto& value : kept) pointers.push_back(value.data());
        if (kernel->run(x, y, threads, pointers.data())) std::abort();  // a barrier that not all threads reach
    });
    return CUDA_SUCCESS;
}

// What CuPy looks up and nobody calls here.
#define NOT_HERE(NAME)            \
    int not_##NAME() asm(#NAME);  \
    int not_##NAME() { return CUDA_ERROR_NOT_SUPPORTED; }
NOT_HERE(cuDevicePrimaryCtxRelease_v2)
NOT_HERE(cuCtxCreate_v2)
NOT_HERE(cuCtxDestroy_v2)
NOT_HERE(cuLinkCreate_v2)
NOT_HERE(cuLinkAddData_v2)
NOT_HERE(cuLinkAddFile_v2)
NOT_HERE(cuLinkComplete)
NOT_HERE(cuLinkDestroy)
NOT_HERE(cuModuleLoad)
NOT_HERE(cuModuleGetGlobal_v2)
NOT_HERE(cuLaunchCooperativeKernel)
NOT_HERE(cuFuncSetAttribute)
NOT_HERE(cuOccupancyMaxActiveBlocksPerMultiprocessor)
NOT_HERE(cuOccupancyMaxPotentialBlockSize)
NOT_HERE(cuStreamGetCtx)
CUresult cuFuncGetAttribute(int* value, CUfunction_attribute, CUfunction) { return *value = 0, CUDA_SUCCESS; }

}  // extern "C"
#pragma GCC visibility pop
