//! Processes that die, and disks that are full. The tests start this very program as their children: hence a `main` of
//! its own, which tells a child from a run of the tests.
#![expect(clippy::unwrap_used, reason = "helpers of tests, too")]

#[path = "../store/common.rs"]
mod common;
mod crash;
mod disk;

use std::path::Path;
use std::process::ExitCode;

use libtest_mimic::{Arguments, Trial};

/// What follows is the name of a child and its words.
const CHILD: &str = "--child";

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    if let [mark, name, path, rest @ ..] = &*words
        && mark == CHILD
    {
        run_child(name, Path::new(path), rest);
        return ExitCode::SUCCESS;
    }
    let trial = |name: &str, test: fn()| {
        Trial::test(name, move || {
            test();
            Ok(())
        })
    };
    let tests = vec![
        trial("a_kill_right_after_a_commit_loses_nothing", || {
            wait(crash::a_kill_right_after_a_commit_loses_nothing());
        }),
        trial("a_kill_at_any_moment_loses_nothing_acknowledged", || {
            wait(crash::a_kill_at_any_moment_loses_nothing_acknowledged());
        }),
        trial("a_kill_at_any_moment_reuses_no_generation", || {
            wait(crash::a_kill_at_any_moment_reuses_no_generation());
        }),
        trial("another_process_is_named_and_can_be_read_beside", || {
            wait(crash::another_process_is_named_and_can_be_read_beside());
        }),
        trial("a_full_disk_loses_nothing", || {
            disk::with_small_disk("fills");
        }),
        trial("a_read_only_disk_is_named", || {
            disk::with_small_disk("cannot-write");
        }),
    ];
    libtest_mimic::run(&Arguments::from_args(), tests).exit_code()
}

fn run_child(name: &str, path: &Path, words: &[String]) {
    match (name, words) {
        ("appends", [deadly]) => wait(crash::appends(path, deadly.parse().unwrap())),
        ("orders", [_]) => wait(crash::orders(path)),
        ("holds", [_]) => wait(crash::holds(path)),
        ("fills", []) => wait(disk::fills(path)),
        ("cannot-write", []) => disk::cannot_write(path),
        _ => panic!("no child {name} {words:?}"),
    }
}

fn wait<T>(work: impl Future<Output = T>) -> T {
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    let runtime = runtime.worker_threads(2).enable_all().build();
    runtime.unwrap().block_on(work)
}
