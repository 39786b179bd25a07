// Mapped files that are truncated while they are read. Reading a page beyond the end of a mapped file raises SIGBUS,
// which kills the process. Here a fault within a watched mapping maps zeros over the missing part and marks the mapping
// as damaged; the caller asks after its computation and discards the result. Every other SIGBUS goes to the handler
// that was installed before. The handler calls only mmap, sigaction, sigpending and raise, plain system calls.
#include <atomic>
#include <cstddef>
#include <cstdint>

#if !defined(_WIN32)
#include <cerrno>
#include <csignal>
#include <mutex>

#include <sys/mman.h>
#include <unistd.h>
#endif

#if !defined(_WIN32)
namespace {

constexpr int MAPPINGS = 256;  // one for each packed file that a process has loaded
constexpr int REPEATS = 100;   // returns of another handler for the same fault before the process dies

struct Mapping {
    std::atomic<std::uintptr_t> begin{0}, end{0};
    std::atomic<bool> taken{false}, damaged{false};
};

Mapping mappings[MAPPINGS];
std::mutex installing;
std::atomic<bool> passed_on{false};
std::atomic<std::uintptr_t> last{0};
std::atomic<int> repeats{0};
struct sigaction before;
std::uintptr_t page = 4096;

void die(int number, bool fault) {
    struct sigaction none = {};
    none.sa_handler = SIG_DFL;
    sigaction(number, &none, nullptr);
    if (!fault) raise(number);  // a fault repeats by itself, when its instruction runs again
}

// Call the handler that was installed before. The process dies if that handler raises the signal again, as faulthandler
// does after its traceback, or returns REPEATS times without removing the fault, as a disabled faulthandler does.
void pass_on(int number, siginfo_t* info, void* context, bool fault) {
    const bool with_info = before.sa_flags & SA_SIGINFO;
    const auto address = reinterpret_cast<std::uintptr_t>(info->si_addr);
    if (!fault || last.exchange(address) != address) repeats = 0;
    if (passed_on.exchange(true) || ++repeats > REPEATS) return die(number, fault);
    if (!with_info && before.sa_handler == SIG_IGN && !fault) {
        passed_on = false;
        return;
    }
    if (!with_info && (before.sa_handler == SIG_DFL || before.sa_handler == SIG_IGN)) return die(number, fault);
    if (with_info) before.sa_sigaction(number, info, context);
    else before.sa_handler(number);
    sigset_t waiting;
    if (!sigpending(&waiting) && !sigismember(&waiting, number)) passed_on = false;
}

void on_fault(int number, siginfo_t* info, void* context) {
    const int saved = errno;
    const bool fault = info->si_code > 0;  // not a signal that a process sent
    const auto address = reinterpret_cast<std::uintptr_t>(info->si_addr);
    if (fault) {
        for (Mapping& mapping : mappings) {
            const std::uintptr_t begin = mapping.begin, end = mapping.end;
            if (!begin || address < begin || address >= end) continue;
            mapping.damaged = true;
            // The rest of the mapping is missing too. It ends on a page boundary, because mmap rounds its length up.
            const std::uintptr_t from = address / page * page, to = (end + page - 1) / page * page;
            void* zeros = mmap(reinterpret_cast<void*>(from), to - from, PROT_READ | PROT_WRITE,
                               MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED | MAP_NORESERVE, -1, 0);
            if (zeros != MAP_FAILED) {
                errno = saved;
                return;
            }
        }
    }
    pass_on(number, info, context, fault);
    errno = saved;
}

// Install our handler in front of any other, also of one that was installed since the last call.
void install() {
    struct sigaction now;
    if (sigaction(SIGBUS, nullptr, &now)) return;
    if ((now.sa_flags & SA_SIGINFO) && now.sa_sigaction == on_fault) return;
    std::lock_guard<std::mutex> lock(installing);
    if (sigaction(SIGBUS, nullptr, &now)) return;
    if ((now.sa_flags & SA_SIGINFO) && now.sa_sigaction == on_fault) return;
    page = static_cast<std::uintptr_t>(sysconf(_SC_PAGESIZE));
    before = now;
    passed_on = false;
    struct sigaction ours = {};
    ours.sa_sigaction = on_fault;
    ours.sa_flags = SA_SIGINFO | SA_ONSTACK;
    sigemptyset(&ours.sa_mask);
    sigaction(SIGBUS, &ours, nullptr);
}

}  // namespace
#endif

extern "C" {

// Watch the mapping of a file. Returns its number, or -1 where MAPPINGS mappings are watched already.
int upsize_watch(void* begin, std::size_t size) {
#if !defined(_WIN32)
    install();
    for (int i = 0; i < MAPPINGS; ++i) {
        if (mappings[i].taken.exchange(true)) continue;
        mappings[i].damaged = false;
        mappings[i].end = reinterpret_cast<std::uintptr_t>(begin) + size;
        mappings[i].begin = reinterpret_cast<std::uintptr_t>(begin);
        return i;
    }
#else
    (void)begin, (void)size;
#endif
    return -1;
}

// Stop watching; call it before the file is unmapped.
void upsize_unwatch(int number) {
#if !defined(_WIN32)
    if (number < 0 || number >= MAPPINGS) return;
    mappings[number].begin = 0;
    mappings[number].taken = false;
#else
    (void)number;
#endif
}

// Whether a part of the mapping was missing when it was read. It stays true whatever happens to the file.
int upsize_damaged(int number) {
#if !defined(_WIN32)
    if (number < 0 || number >= MAPPINGS) return 0;
    install();
    return mappings[number].damaged;
#else
    (void)number;
    return 0;
#endif
}
}
