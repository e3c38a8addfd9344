// Faults of Jittor's C++, mended from outside: kernels.py compiles this once and calls install_repairs().
#include <malloc.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <exception>
#include <fstream>
#include <iostream>
#include <mutex>
#include <new>
#include <stdexcept>
#include <string>

#include "mem/allocator/aligned_allocator.h"
#include "mem/allocator/sfrl_allocator.h"

// Jittor writes "\n", "Compiling Operators(3/29) used: ... \r" again and again, and "\n" over the lines of others.
// This buffer stands before that of std::cerr: of those it makes one line, all else passes through.
class Progress : public std::streambuf {
    const std::string start = "Compiling Operators(";
    std::streambuf* const out = std::cerr.rdbuf();
    std::mutex mutex;
    std::string line;    // what came of this line and was not passed on
    bool begun = false;  // the beginning of this line was passed on
    bool said = false;   // this compilation was told

    void pass() {
        out->sputn(line.data(), line.size());
        line.clear();
    }

    void say() {
        const auto slash = line.find('/') + 1;
        const auto count = line.substr(slash, line.find(')') - slash);
        line = std::string(isatty(2) ? "\r\x1b[K" : "") + "preparing " + count + " kernels, compiled once per machine ...\n";
        pass();
        said = true;
    }

    int overflow(int c) override {
        std::lock_guard<std::mutex> lock(mutex);
        line += char(c);
        if (c != '\n' && c != '\r') return c;
        if (begun || (line != "\n" && line.rfind(start, 0))) pass();
        else if (line == "\n") said = false;  // the empty line before and after
        else if (!said) say();
        line.clear();
        begun = false;
        return c;
    }

    int sync() override {
        std::lock_guard<std::mutex> lock(mutex);
        const auto known = std::min(line.size(), start.size());
        if (begun || line.compare(0, known, start, 0, known)) {  // this line cannot be progress any more
            begun = begun || !line.empty();
            pass();
        }
        return out->pubsync();
    }
};

// Without memory Jittor's allocator returns null, and the kernel that writes there ends the process without a word. When
// it throws, Jittor frees what it holds back, tries again, and raises an error. A block that is larger than all that is
// left is refused as well: the system would give it, and kill the process when it is written to.
struct CheckedAllocator : jittor::AlignedAllocator {
    static size_t left() {
        size_t total = 0, amount;
        std::string name, unit;
        for (std::ifstream file("/proc/meminfo"); file >> name >> amount && std::getline(file, unit);)
            if (name == "MemAvailable:" || name == "SwapFree:") total += amount * 1024;
#if __GLIBC_PREREQ(2, 33)
        return total ? total + mallinfo2().fordblks : SIZE_MAX;
#else
        return SIZE_MAX;
#endif
    }

    void* alloc(size_t size, size_t& allocation) override {
        const size_t large = size_t(256) << 20;
        void* memory = nullptr;
        if (size < large || size < left())
            memory = size < MAPPED ? AlignedAllocator::alloc(size, allocation) : map(size);
        if (!memory) throw std::runtime_error("out of memory: " + std::to_string(size) + " bytes");
        return memory;
    }

    void free(void* memory, size_t size, const size_t& allocation) override {
        if (size < MAPPED) AlignedAllocator::free(memory, size, allocation);
        else munmap(memory, size);
    }

    // Pages of 2 MiB where the system has them: a network's tensors are then found, and first cleared, faster.
    static void* map(size_t size) {
        const size_t page = size_t(2) << 20, more = size + page;
        char* start = (char*)mmap(nullptr, more, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (start == MAP_FAILED) return nullptr;
        char* const begin = start + (page - (uintptr_t)start % page) % page;
        char* const end = begin + (size + 4095) / 4096 * 4096;
        if (begin > start) munmap(start, begin - start);
        if (start + more > end) munmap(end, start + more - end);
        madvise(begin, size, MADV_HUGEPAGE);
        return begin;
    }

    static const size_t MAPPED = size_t(2) << 20;    // from here on a block is the system's again when it is freed
};

// Jittor keeps every block that it ever freed for another of that size. Where sizes differ from layer to layer this is
// several times what a step needs at once: beyond a quarter of a GiB they go back before a new one is asked for.
static void keep_few_freed_blocks() {
    jittor::get_allocator();     // makes the one that the executor uses
    for (auto* allocator : jittor::SFRLAllocator::sfrl_allocators) {
        if (allocator->is_cuda()) continue;
        allocator->free_ratio = 0;
        allocator->min_free_size = size_t(256) << 20;
    }
}

// A thread of a kernel that finds no memory cannot raise an error; it ends the process, in one line at least.
static void end_in_one_line() {
    try {
        if (auto error = std::current_exception()) std::rethrow_exception(error);
    } catch (const std::bad_alloc&) {
        const char line[] = "error: out of memory in a kernel; lower the batch, the picture size or the workers\n";
        if (write(2, line, sizeof(line) - 1)) _exit(2);
    } catch (...) {
    }
    std::abort();
}

extern "C" void install_repairs() {
    std::set_terminate(end_in_one_line);
    std::cerr.rdbuf(new Progress);
    new (&jittor::aligned_allocator) CheckedAllocator;  // the same layout, another table of functions
    keep_few_freed_blocks();
}
