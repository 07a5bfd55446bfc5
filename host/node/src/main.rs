//! The `carillon` command.

fn main() -> std::process::ExitCode {
    node::cli::run()
}
