// Threads that share out numbered pieces of work, claimed one by one: a thread that the machine takes away for a while
// holds back one piece, not its half of everything.
#pragma once

namespace upsize {

using Piece = void (*)(void* context, int index);

// Threads that there are, the caller's own among them.
void set_threads(int count);
// Of these, how many work from now on; the others sleep.
void use_threads(int count);
int threads();

// Call piece(context, i) for every i below count, on all threads; returns when all are done. A second caller at the
// same time does its pieces alone.
void share_out(int count, Piece piece, void* context);

// The same for a lambda; on this thread alone unless `together`.
template <class F>
inline void each(bool together, int count, F&& f) {
    if (!together || count < 2) {
        for (int i = 0; i < count; ++i) f(i);
        return;
    }
    share_out(count, [](void* context, int i) { (*static_cast<__typeof__(f)*>(context))(i); }, &f);
}

}  // namespace upsize
