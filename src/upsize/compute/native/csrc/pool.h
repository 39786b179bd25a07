// A thread pool for parallel loops. Threads claim one iteration at a time: a thread that the operating system preempts
// delays one iteration, not its half of the loop.
#pragma once

namespace upsize {

using Iteration = void (*)(void* context, int index);

// Set the number of threads of the pool, the caller's included.
void set_threads(int count);
// Set how many of them work from now on; the others sleep.
void use_threads(int count);
int thread_count();

// Call body(context, i) for every i below count, on all threads; return when all calls have returned. While one caller
// uses the pool, a second caller runs its loop on its own thread.
void run_on_pool(int count, Iteration body, void* context);

// The same for a lambda. With `parallel` false the loop runs on the caller's thread.
template <class F>
inline void parallel_for(bool parallel, int count, F&& f) {
    if (!parallel || count < 2) {
        for (int i = 0; i < count; ++i) f(i);
        return;
    }
    run_on_pool(count, [](void* context, int i) { (*static_cast<__typeof__(f)*>(context))(i); }, &f);
}

}  // namespace upsize
