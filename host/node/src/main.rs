//! The `carillon` command, and what it allocates with.

/// Much of what a send allocates is freed by another thread, which glibc's arenas are slow at: this one gave
/// a third more sends. `docs/decisions/0006` has the figures.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> std::process::ExitCode {
    node::cli::run()
}
