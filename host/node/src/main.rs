//! The `carillon` command, and what it allocates with.

/// A send allocates some hundred times in three threads and frees in others. With the system's allocator
/// that was a quarter of its processor time; `docs/performance.md` has the figures.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> std::process::ExitCode {
    node::cli::run()
}
