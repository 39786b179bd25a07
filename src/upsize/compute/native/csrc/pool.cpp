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

// Iterations of a spin loop before a thread sleeps, or yields its processor to the thread that it waits for. They take
// some tens of microseconds, longer than the caller needs between two parallel loops of one layer.
constexpr int SPIN_COUNT = 4000;

inline void pause() {
#if defined(__x86_64__)
    __builtin_ia32_pause();
#endif
}

// Spin until other threads make the condition true. They may need this very processor for it, so yield after a while.
template <class F>
inline void spin_until(F&& condition) {
    for (int spins = 0; !condition(); ++spins) {
        if (spins < SPIN_COUNT) pause();
        else std::this_thread::yield();
    }
}

struct Pool {
    std::mutex caller_mutex;  // one caller at a time; also guards `workers`
    std::vector<std::thread> workers;
    std::atomic<int> active_threads{1};  // threads that work, the caller's included

    // The current loop. The caller writes it while `running` is 0; a worker reads it after it has seen `open` true
    // with itself counted in `running`.
    Iteration body = nullptr;
    void* context = nullptr;
    int count = 0;
    std::atomic<int> next{0};
    std::atomic<bool> open{false};
    std::atomic<int> running{0};

    std::mutex sleep_mutex;
    std::condition_variable wake_condition;
    std::atomic<int> sleepers{0};
    std::atomic<bool> stopping{false};

    void run_iterations() {
        for (int i; (i = next.fetch_add(1)) < count;) body(context, i);
    }

    bool has_work(int worker) const { return open && worker < active_threads; }

    void worker_loop(int worker) {
        int spins_left = SPIN_COUNT;
        while (!stopping) {
            if (has_work(worker)) {
                ++running;
                if (open) run_iterations();
                --running;
                spins_left = SPIN_COUNT;
                spin_until([this] { return !open || stopping; });
            } else if (--spins_left > 0) {
                pause();
            } else {
                std::unique_lock<std::mutex> lock(sleep_mutex);
                ++sleepers;
                wake_condition.wait(lock, [&] { return has_work(worker) || stopping; });
                --sleepers;
                spins_left = SPIN_COUNT;
            }
        }
    }

    void wake() {
        if (sleepers == 0) return;
        { std::lock_guard<std::mutex> lock(sleep_mutex); }
        wake_condition.notify_all();
    }

    void stop() {
        stopping = true;
        wake();
        for (auto& worker : workers) worker.join();
        workers.clear();
        stopping = false;
    }

    void resize(int size) {
        std::lock_guard<std::mutex> lock(caller_mutex);
        active_threads = size;
        if (size - 1 == static_cast<int>(workers.size())) return;
        stop();
        for (int i = 1; i < size; ++i) workers.emplace_back([this, i] { worker_loop(i); });
    }

    void use(int wanted) {
        std::lock_guard<std::mutex> lock(caller_mutex);
        const int size = static_cast<int>(workers.size()) + 1;
        active_threads = wanted < 1 ? 1 : wanted < size ? wanted : size;
    }

    void run(int iterations, Iteration f, void* c) {
        std::unique_lock<std::mutex> lock(caller_mutex, std::try_to_lock);
        if (!lock || active_threads < 2) {
            for (int i = 0; i < iterations; ++i) f(c, i);
            return;
        }
        body = f;
        context = c;
        count = iterations;
        next = 0;
        open = true;
        wake();
        run_iterations();
        open = false;
        spin_until([this] { return running == 0; });
    }
};

Pool* instance = nullptr;

// A forked process has none of the threads, and its copies of the locks and counters may be in any state.
void replace_after_fork() { instance = new Pool; }

// Never destroyed: the pool's threads may still wait on it when the process ends.
Pool& pool() {
    static std::once_flag created;
    std::call_once(created, [] {
        instance = new Pool;
#if !defined(_WIN32)
        pthread_atfork(nullptr, nullptr, replace_after_fork);
#endif
    });
    return *instance;
}

}  // namespace

void set_threads(int count) { pool().resize(count < 1 ? 1 : count); }

void use_threads(int count) { pool().use(count); }

int thread_count() { return pool().active_threads; }

void run_on_pool(int count, Iteration body, void* context) { pool().run(count, body, context); }

}  // namespace upsize
