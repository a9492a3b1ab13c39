//! The refloat-agent program.

fn main() -> std::process::ExitCode {
    agent::run(std::env::args().skip(1))
}
