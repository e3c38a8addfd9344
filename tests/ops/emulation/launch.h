// CUDA's launch on the CPU, to test a kernel's source on a machine without a GPU.
//
// The blocks of a grid run one after the other. A thread of a block is a function call until it meets a barrier; there
// its stack is set aside, and the next thread runs. Blocks and threads come forwards, backwards or mixed: a kernel that
// forgets a barrier, or whose blocks write to one place, gives other bits. Arrays lie between two pages that may not be
// touched, inputs may not be written, and what is not an input is NaN before: outputs, shared memory, and the rest of a
// page. What a kernel must not do ends the launch with a sentence, which `emulate` returns.
#include <setjmp.h>
#include <signal.h>
#include <sys/mman.h>
#include <ucontext.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <functional>
#include <memory>
#include <numeric>
#include <stdexcept>
#include <string>
#include <unordered_map>
#include <vector>

struct Index { unsigned x = 0, y = 0, z = 0; };   // kernels use the first axis alone
static Index threadIdx, blockIdx, blockDim, gridDim;
#define __global__
#define __device__
#define __host__
#define __shared__ static __attribute__((section("cuda_shared")))
__shared__ float emulation_unused;   // so that the section exists
extern char __start_cuda_shared[], __stop_cuda_shared[];

namespace emulation {

enum Order { FORWARDS, BACKWARDS, MIXED };
static const size_t PAGE = 4096, STACK = 1 << 16;
static const unsigned char POISON = 0xff;      // four of them are a NaN, and as an index far away

static Order order;
static std::string fault;
static sigjmp_buf outside;

[[noreturn]] static void fail(const std::string& what) {
    fault = "block " + std::to_string(blockIdx.x) + ", thread " + std::to_string(threadIdx.x) + ": " + what;
    siglongjmp(outside, 1);
}

static std::vector<unsigned> in_order(unsigned count) {
    std::vector<unsigned> all(count);
    std::iota(all.begin(), all.end(), 0u);
    if (order == BACKWARDS) std::reverse(all.begin(), all.end());
    unsigned state = 12345;
    for (unsigned i = count; order == MIXED && i > 1; i--) {
        state = state * 1664525u + 1013904223u;
        std::swap(all[i - 1], all[(state >> 8) % i]);
    }
    return all;
}

// A stack on which threads run, one after the other, until one of them waits.
struct Fiber {
    ucontext_t start;
    jmp_buf here;
    bool begun = false;
    unsigned thread = 0;
    std::unique_ptr<char[]> stack{new char[STACK]};
};

static std::function<void()> body;             // of one thread of the launch that runs
static std::vector<unsigned> threads;          // of a block, in their order
static size_t next;                            // how many of them have begun
static jmp_buf scheduler;
static Fiber* current;
static std::vector<std::unique_ptr<Fiber>> fibers;
static std::vector<Fiber*> idle, waiting;

static void leave() {
    if (!_setjmp(current->here)) _longjmp(scheduler, 1);
}

static void run_threads() {
    for (;;) {
        while (next < threads.size()) {
            threadIdx.x = current->thread = threads[next++];
            body();
        }
        idle.push_back(current);
        leave();
    }
}

static void enter(Fiber* fiber) {
    current = fiber;
    threadIdx.x = fiber->thread;
    if (_setjmp(scheduler)) return;
    if (fiber->begun) _longjmp(fiber->here, 1);
    fiber->begun = true;
    setcontext(&fiber->start);
}

static Fiber* free_fiber() {
    if (idle.empty()) {
        fibers.emplace_back(new Fiber);
        Fiber* fiber = fibers.back().get();
        getcontext(&fiber->start);
        fiber->start.uc_stack.ss_sp = fiber->stack.get();
        fiber->start.uc_stack.ss_size = STACK;
        makecontext(&fiber->start, run_threads, 0);
        return fiber;
    }
    Fiber* fiber = idle.back();
    idle.pop_back();
    return fiber;
}

static void barrier() {
    waiting.push_back(current);
    leave();
}

static void run_block() {
    next = 0;
    std::memset(__start_cuda_shared, POISON, __stop_cuda_shared - __start_cuda_shared);
    while (next < threads.size()) enter(free_fiber());
    while (!waiting.empty()) {
        if (waiting.size() != threads.size()) fail("waits at a barrier that not every thread of its block reaches");
        const auto all = std::move(waiting);
        waiting.clear();
        for (unsigned i : in_order(all.size())) enter(all[i]);
    }
}

// What stands for `kernel<<<grid, block>>>`.
template <class... P> struct Launch {
    void (*const kernel)(P...);
    const long grid;
    const int block;

    void operator()(P... arguments) const {
        if (grid < 1 || grid > 0x7fffffffL || block < 1 || block > 1024)
            fail("a launch of " + std::to_string(grid) + " blocks of " + std::to_string(block) + " threads");
        gridDim.x = grid;
        blockDim.x = block;
        body = [&] { kernel(arguments...); };
        threads = in_order(block);
        for (unsigned i : in_order(grid)) {
            blockIdx.x = i;
            run_block();
        }
    }
};
template <class... P> Launch<P...> launch(void (*kernel)(P...), long grid, int block) { return {kernel, grid, block}; }

// What a caller hands over: the bytes of an array of at most four axes, and what to call it.
struct Array {
    void* bytes;
    long size;
    long shape[4];
    const char* name;
};

// The same array between two pages without rights, its end (or its beginning) at one of them.
struct Guarded {
    const Array* array;
    char *begin, *data;
    size_t whole;

    Guarded(const Array& from, bool input, bool at_the_end) : array(&from) {
        whole = (from.size + PAGE - 1) / PAGE * PAGE;
        begin = (char*)mmap(nullptr, whole + 2 * PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        mprotect(begin + PAGE, whole, PROT_READ | PROT_WRITE);
        std::memset(begin + PAGE, POISON, whole);
        data = begin + PAGE + (at_the_end ? whole - from.size : 0);
        if (input) {
            std::memcpy(data, from.bytes, from.size);
            mprotect(begin + PAGE, whole, PROT_READ);
        }
    }
    bool holds(const char* at) const { return at >= begin && at < begin + whole + 2 * PAGE; }
    ~Guarded() { munmap(begin, whole + 2 * PAGE); }
};
typedef std::vector<std::unique_ptr<Guarded>> Arrays;
static Arrays ins, outs;
static struct sigaction before;

static void touched(int, siginfo_t* what, void*) {
    const char* at = (const char*)what->si_addr;
    for (auto* arrays : {&ins, &outs})
        for (auto& one : *arrays)
            if (one->holds(at)) {
                const long offset = at - one->data;
                const bool inside = offset >= 0 && offset < one->array->size;
                fail((inside ? "writes the input " : "touches ") + std::string(one->array->name) + ", byte "
                     + std::to_string(offset) + " of " + std::to_string(one->array->size));
            }
    sigaction(SIGSEGV, &before, nullptr);    // not ours: the process ends as it would have
}

typedef std::unordered_map<std::string, double> Data;

// Run `kernel(data)` on guarded copies in `ins` and `outs`; copy the outputs back. Returns null, or what it did wrong.
static const char* emulate(void (*kernel)(Data&), const Array* given, int inputs, int count, const char** keys,
                           const double* values, int pairs, int way) {
    Data data;
    for (int i = 0; i < pairs; i++) data[keys[i]] = values[i];
    order = Order(way % 3);
    for (int i = 0; i < count; i++)
        (i < inputs ? ins : outs).emplace_back(new Guarded(given[i], i < inputs, way % 2 == 0));
    struct sigaction action {};
    action.sa_sigaction = touched;
    action.sa_flags = SA_SIGINFO | SA_NODEFER;
    sigaction(SIGSEGV, &action, &before);
    fault.clear();
    threadIdx = blockIdx = {};
    if (sigsetjmp(outside, 1)) {
        fibers.clear();     // some stand in the middle of a thread
        idle.clear();
        waiting.clear();
    } else {
        try {
            kernel(data);
        } catch (const std::exception& error) {     // Jittor raises it in Python
            fault = error.what();
        }
    }
    sigaction(SIGSEGV, &before, nullptr);
    for (int i = inputs; i < count; i++) std::memcpy(given[i].bytes, outs[i - inputs]->data, given[i].size);
    ins.clear();
    outs.clear();
    return fault.empty() ? nullptr : fault.c_str();
}

}  // namespace emulation

#define __syncthreads() emulation::barrier()
