#include "pool.h"

#include <atomic>
#include <condition_variable>
#include <mutex>
#include <thread>
#include <vector>

#if !defined(_WIN32)
#include <pthread.h>
#endif

namespace upsize {
namespace {

// Turns of the waiting loop before a thread goes to sleep, or offers its processor to whom it waits for: some tens of
// microseconds, longer than the caller needs from one piece of work to the next.
constexpr int PATIENCE = 4000;

inline void pause() {
#if defined(__x86_64__)
    __builtin_ia32_pause();
#endif
}

// Wait for others to change something. They may need this very processor for it.
template <class F>
inline void until(F&& changed) {
    for (int turns = 0; !changed(); ++turns) {
        if (turns < PATIENCE) pause();
        else std::this_thread::yield();
    }
}

struct Pool {
    std::mutex callers;  // one at a time
    std::vector<std::thread> workers;
    std::atomic<int> used{1};  // threads that work, the caller's among them

    // What is being done. Written while nobody is inside; read by whoever found it open from inside.
    Piece piece = nullptr;
    void* context = nullptr;
    int count = 0;
    std::atomic<int> next{0};
    std::atomic<bool> open{false};
    std::atomic<int> inside{0};

    std::mutex bed;
    std::condition_variable alarm;
    std::atomic<int> sleepers{0};
    std::atomic<bool> stopping{false};

    void work() {
        for (int i; (i = next.fetch_add(1)) < count;) piece(context, i);
    }

    bool called(int worker) const { return open && worker < used; }

    void live(int worker) {
        int patience = PATIENCE;
        while (!stopping) {
            if (called(worker)) {
                ++inside;
                if (open) work();
                --inside;
                patience = PATIENCE;
                until([this] { return !open || stopping; });
            } else if (--patience > 0) {
                pause();
            } else {
                std::unique_lock<std::mutex> lock(bed);
                ++sleepers;
                alarm.wait(lock, [&] { return called(worker) || stopping; });
                --sleepers;
                patience = PATIENCE;
            }
        }
    }

    void wake() {
        if (sleepers == 0) return;
        { std::lock_guard<std::mutex> lock(bed); }
        alarm.notify_all();
    }

    void stop() {
        stopping = true;
        wake();
        for (auto& worker : workers) worker.join();
        workers.clear();
        stopping = false;
    }

    void resize(int size) {
        std::lock_guard<std::mutex> lock(callers);
        used = size;
        if (size - 1 == static_cast<int>(workers.size())) return;
        stop();
        for (int i = 1; i < size; ++i) workers.emplace_back([this, i] { live(i); });
    }

    void run(int pieces, Piece f, void* c) {
        std::unique_lock<std::mutex> lock(callers, std::try_to_lock);
        if (!lock || used < 2) {
            for (int i = 0; i < pieces; ++i) f(c, i);
            return;
        }
        piece = f;
        context = c;
        count = pieces;
        next = 0;
        open = true;
        wake();
        work();
        open = false;
        until([this] { return inside == 0; });
    }
};

Pool* one = nullptr;

// A forked process has none of the threads, and its locks and counts may stand as they were in the middle of a run.
void forked() { one = new Pool; }

// Never destroyed: its threads may still wait when the process ends.
Pool& pool() {
    static const bool made = [] {
        one = new Pool;
#if !defined(_WIN32)
        pthread_atfork(nullptr, nullptr, forked);
#endif
        return true;
    }();
    (void)made;
    return *one;
}

}  // namespace

void set_threads(int count) { pool().resize(count < 1 ? 1 : count); }

void use_threads(int count) {
    const int there = static_cast<int>(pool().workers.size()) + 1;
    pool().used = count < 1 ? 1 : count < there ? count : there;
}

int threads() { return pool().used; }

void share_out(int count, Piece piece, void* context) { pool().run(count, piece, context); }

}  // namespace upsize
