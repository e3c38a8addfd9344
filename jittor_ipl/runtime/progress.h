// Jittor writes "\n", "Compiling Operators(3/29) used: ... \r" again and again, and "\n" over the lines of others.
// This buffer stands before that of std::cerr: of those it makes one line, all else passes through.
#include <unistd.h>

#include <algorithm>
#include <iostream>
#include <mutex>
#include <string>

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
        line = std::string(isatty(2) ? "\r\x1b[K" : "") + "compiling " + count + " kernels, once per machine ...\n";
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

extern "C" void shorten_progress() { std::cerr.rdbuf(new Progress); }
