// Faults of Jittor's C++, mended from outside: kernels.py compiles this once and calls install_repairs().
#include <malloc.h>
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
        void* memory = size < large || size < left() ? AlignedAllocator::alloc(size, allocation) : nullptr;
        if (!memory) throw std::runtime_error("out of memory: " + std::to_string(size) + " bytes");
        return memory;
    }
};

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
}
