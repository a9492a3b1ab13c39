//! An order is carried out at most once, wherever the agent dies. Each case runs in a process of its own that kills
//! itself between two steps; the same order is then given again to a new one. That process is this very program: hence
//! a `main` of its own, which tells a child from a run of the tests.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use agent::act::{Afterwards, Answer, Done, Executor, Hands, Step};
use host::{Action, BootId, Order, Refusal};
use libtest_mimic::{Arguments, Trial};

/// What follows is the folder of a child, and the number of the step after which it dies.
const CHILD: &str = "--child";

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    if let [mark, folder, die] = &*words
        && mark == CHILD
    {
        let die = Some(die.parse().unwrap());
        executor(Path::new(folder), die).carry_out(&order());
        return ExitCode::SUCCESS;
    }
    let tests: [(&str, fn()); 4] = [
        ("wherever_it_dies", wherever_it_dies),
        (
            "what_another_way_began_is_not_done_again",
            what_another_way_began_is_not_done_again,
        ),
        (
            "what_another_way_ended_is_told",
            what_another_way_ended_is_told,
        ),
        (
            "without_a_ledger_nothing_is_done",
            without_a_ledger_nothing_is_done,
        ),
    ];
    let trial = |(name, test): (&str, fn())| {
        Trial::test(name, move || {
            test();
            Ok(())
        })
    };
    libtest_mimic::run(&Arguments::from_args(), tests.map(trial).into()).exit_code()
}

/// Counts what it does in a file, and dies where it is told to.
struct Counting {
    folder: PathBuf,
    die: Option<usize>,
}

impl Hands for Counting {
    fn check(&self, _: &Action) -> Result<(), Refusal> {
        Ok(())
    }

    fn perform(&self, _: &Order) -> Done {
        let mut file = fs::OpenOptions::new()
            .append(true)
            .create(true)
            .open(self.folder.join("done"))
            .unwrap();
        file.write_all(b"once\n").unwrap();
        Done {
            ok: true,
            output: "done".to_owned(),
        }
    }

    fn afterwards(&self, _: &Order) -> Option<Afterwards> {
        None
    }

    fn between(&self, step: Step) {
        if self.die.is_some_and(|at| Step::ALL[at] == step) {
            std::process::abort();
        }
    }
}

fn boot() -> BootId {
    BootId::new("0f0e0d0c-0b0a-0908-0706-050403020100").unwrap()
}

fn order() -> Order {
    Order {
        operation: "o".to_owned(),
        generation: 5,
        boot: boot(),
        action: Action::ReexecSystemd,
        consent: false,
    }
}

fn executor(folder: &Path, die: Option<usize>) -> Executor {
    let hands = Counting {
        folder: folder.to_owned(),
        die,
    };
    Executor::open(folder, &folder.join("orders"), boot(), Box::new(hands))
}

fn words(answer: &Answer) -> String {
    match answer {
        Answer::Acted { ok, repeated, .. } => format!("acted {ok} {repeated}"),
        Answer::Interrupted => "interrupted".to_owned(),
        Answer::Refused(refusal) => format!("refused {refusal:?}"),
    }
}

fn done(folder: &Path) -> usize {
    fs::read_to_string(folder.join("done"))
        .unwrap_or_default()
        .lines()
        .count()
}

fn wherever_it_dies() {
    for (die, step) in Step::ALL.into_iter().enumerate() {
        let folder = tempfile::tempdir().unwrap();
        let status = Command::new(std::env::current_exe().unwrap())
            .arg(CHILD)
            .arg(folder.path())
            .arg(die.to_string())
            .stdout(std::process::Stdio::null())
            .stderr(std::process::Stdio::null())
            .status()
            .unwrap();
        // By its own hand, at that step, and not because something failed before.
        assert_eq!(status.code(), None, "{step:?}: {status}");
        let before = done(folder.path());
        let answer = words(&executor(folder.path(), None).carry_out(&order()));
        let expected = match step {
            // Nothing had begun: now it is done.
            Step::Admitted | Step::Checked => ("acted true false", 1),
            // It had begun, and nobody knows how far it came; it is not done again.
            Step::Began | Step::Marked => ("interrupted", 0),
            Step::Performed => ("interrupted", 1),
            Step::Ended => ("acted true true", 1),
        };
        assert_eq!((answer.as_str(), done(folder.path())), expected, "{step:?}");
        assert!(before <= 1);
        // And ever after.
        let again = executor(folder.path(), None);
        again.carry_out(&order());
        assert!(done(folder.path()) <= 1, "{step:?}");
    }
}

fn what_another_way_began_is_not_done_again() {
    let folder = tempfile::tempdir().unwrap();
    let mark = folder.path().join("orders/5");
    fs::create_dir_all(&mark).unwrap();
    let executor = executor(folder.path(), None);
    assert_eq!(words(&executor.carry_out(&order())), "interrupted");
    assert_eq!(words(&executor.carry_out(&order())), "interrupted");
    assert_eq!(done(folder.path()), 0);
    // It does not block what comes later.
    let next = Order {
        generation: 6,
        ..order()
    };
    assert_eq!(words(&executor.carry_out(&next)), "acted true false");
    assert_eq!(
        fs::read_to_string(folder.path().join("orders/6/ended")).unwrap(),
        "ok\n"
    );
}

fn what_another_way_ended_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let mark = folder.path().join("orders/5");
    fs::create_dir_all(&mark).unwrap();
    fs::write(mark.join("ended"), "failed\n").unwrap();
    let executor = executor(folder.path(), None);
    assert_eq!(words(&executor.carry_out(&order())), "acted false true");
    assert_eq!(done(folder.path()), 0);
}

fn without_a_ledger_nothing_is_done() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    fs::write(&file, "").unwrap();
    let hands = Counting {
        folder: folder.path().to_owned(),
        die: None,
    };
    let executor = Executor::open(
        &file,
        &folder.path().join("orders"),
        boot(),
        Box::new(hands),
    );
    assert!(matches!(
        executor.carry_out(&order()),
        Answer::Refused(Refusal::NoLedger { .. })
    ));
    assert_eq!(done(folder.path()), 0);
}
