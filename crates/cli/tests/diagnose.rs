//! `refloat diagnose`, the program itself; it needs no cluster.

use std::io::Write;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use serde_json::Value;

const PLEG: &str = "E0901 03:14:45.912484   22255 kubelet.go:1765] skipping pod synchronization - \
    [PLEG is not healthy: pleg was last seen active 3m5.3s ago; threshold is 3m0s]\n";
const KERNEL: &str = "[ 480.096044] INFO: task dockerd:14148 blocked for more than 120 seconds.\n";

/// Runs it with these words in a folder; what is piped in is this, or nothing is.
fn run(folder: &Path, words: &[&str], piped: Option<&[u8]>) -> Output {
    let mut child = Command::new(env!("CARGO_BIN_EXE_refloat"))
        .arg("diagnose")
        .args(words)
        .current_dir(folder)
        .env_clear()
        .env("LANG", "C.UTF-8")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program starts");
    let mut stdin = child.stdin.take().expect("stdin");
    // A program that does not read its input has ended before all is written.
    let _ = stdin.write_all(piped.unwrap_or_default());
    drop(stdin);
    child.wait_with_output().expect("it ends")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn what_is_given_and_what_is_said() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, bytes: &[u8]| std::fs::write(folder.path().join(name), bytes).unwrap();
    write("kubelet.log", PLEG.as_bytes());
    write("kernel.log", KERNEL.as_bytes());
    write("empty", b"\n \n");
    write("packed.gz", b"\x1f\x8b\x08\x00 and more");
    write("healthy", b"I0901 10:00:00.000000  1 x.go:1] all is well\n");
    // GBK, and a torn write after a power cut.
    write(
        "mixed",
        b"\xb4\xc5\xc5\xcc\0\0\0\nkernel: EXT4-fs error (device vda1): ext4_lookup:1441\n",
    );
    let wide: Vec<u8> = KERNEL.encode_utf16().flat_map(u16::to_le_bytes).collect();
    write("utf16", &[b"\xff\xfe", wide.as_slice()].concat());
    type Case<'a> = (
        &'a [&'a str],
        Option<&'a str>,
        i32,
        &'a [&'a str],
        &'a [&'a str],
    );
    let cases: &[Case<'_>] = &[
        (
            &[],
            Some(PLEG),
            6,
            &["PLEG", "line 1", "look", "1. does systemd", "do not"],
            &[],
        ),
        (&["-"], Some(PLEG), 6, &["(PLEG)"], &[]),
        (&["--file", "-"], Some(PLEG), 6, &["(PLEG)"], &[]),
        (&["kubelet.log"], None, 6, &["line 1"], &[]),
        (
            &["-f", "kubelet.log", "--file", "kernel.log"],
            None,
            6,
            // Together they tell more: the hung task is why.
            &[
                "a task hangs in the kernel: dockerd:14148",
                "kernel.log:1",
                "effect",
                "(PLEG)",
            ],
            &[],
        ),
        (
            &["kubelet.log", "--lang", "zh"],
            None,
            6,
            &["第 1 行", "先查", "不要"],
            &[],
        ),
        (
            &["kernel.log", "-o", "name"],
            None,
            6,
            &["hung-task\n"],
            &[],
        ),
        (
            &["mixed"],
            None,
            6,
            &["a file system is damaged (ext4): vda1", "line 2"],
            &[],
        ),
        (
            &["--explain"],
            Some(
                "kernel: nf_conntrack: table full, dropping packet\ncontainerd[9]: modprobe: FATAL: Module aufs not found.: skip plugin\n",
            ),
            6,
            &[
                "what the rules went by",
                "is full: \"conntrack: table full\"",
                "ruled out, a kernel module",
                "but also \"skip plugin\"",
            ],
            &[],
        ),
        (
            &["--explain", "--lang", "zh", "healthy"],
            None,
            0,
            &["这段文本中没有规则所要的词"],
            &[],
        ),
        (
            &["kernel.log", "--explain", "-o", "json"],
            None,
            6,
            &["\"explained\"", "\"ruling\": \"counts\""],
            &[],
        ),
        (&["utf16"], None, 6, &["dockerd:14148"], &[]),
        (&["healthy"], None, 0, &["no known trouble in 1 line"], &[]),
        (
            &["healthy", "empty"],
            None,
            0,
            &["no known trouble in 1 line"],
            &["empty is empty"],
        ),
        (&["empty"], None, 1, &[], &["empty is empty", "hint:"]),
        (&[], Some(""), 1, &[], &["stdin is empty", "journalctl"]),
        (
            &["packed.gz"],
            None,
            1,
            &[],
            &["cannot read packed.gz", "hint:"],
        ),
        (
            &["nowhere"],
            None,
            1,
            &[],
            &["cannot read nowhere", "hint:"],
        ),
        (&["."], None, 1, &[], &["cannot read .", "hint:"]),
        (&["--fiel", "x"], None, 2, &[], &["--fiel", "--file"]),
    ];
    for (words, piped, code, out, err) in cases {
        let ran = run(folder.path(), words, piped.map(str::as_bytes));
        let (stdout, stderr) = (text(&ran.stdout), text(&ran.stderr));
        let about = format!("{words:?}\n{stdout}\n{stderr}");
        assert_eq!(ran.status.code(), Some(*code), "{about}");
        for part in *out {
            assert!(stdout.contains(part), "no {part:?}: {about}");
        }
        for part in *err {
            assert!(stderr.contains(part), "no {part:?}: {about}");
        }
        assert!(*code == 0 || *code == 6 || stdout.is_empty(), "{about}");
    }
}

#[test]
fn as_json_each_quote_has_its_file_and_line() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("a"), format!("\n{PLEG}")).unwrap();
    std::fs::write(folder.path().join("b"), format!("x\n\n{KERNEL}")).unwrap();
    let ran = run(folder.path(), &["a", "b", "-o", "json"], None);
    let report: Value = serde_json::from_slice(&ran.stdout).unwrap();
    let places: Vec<_> = report["findings"]
        .as_array()
        .unwrap()
        .iter()
        .map(|finding| {
            let quote = &finding["evidence"][0];
            (
                finding["cause"].as_str().unwrap(),
                quote["file"].as_str().unwrap(),
                quote["line"].as_u64().unwrap(),
            )
        })
        .collect();
    assert_eq!(places, [("hung-task", "b", 3), ("pleg-unhealthy", "a", 2)]);
    // One text needs no name, and the report is read back as it was made.
    let ran = run(folder.path(), &["b", "-o", "json"], None);
    let report: diagnosis::Report = serde_json::from_slice(&ran.stdout).unwrap();
    assert_eq!(report.findings[0].evidence[0].line, 3);
    let ran = run(folder.path(), &["c", "-o", "json"], None);
    let error: Value = serde_json::from_slice(&ran.stderr).unwrap();
    assert_eq!(error["error"]["code"], "text_unreadable");
}

#[test]
fn the_version_of_systemd_and_the_writer_decide() {
    let folder = tempfile::tempdir().unwrap();
    let bus =
        "systemd-logind[733]: Failed to propagate agent release message: Operation not supported\n";
    let said = |words: &[&str], piped: &str| {
        text(&run(folder.path(), words, Some(piped.as_bytes())).stdout)
    };
    let affected = said(&["--systemd", "systemd-219-62.el7.x86_64"], bus);
    assert!(
        affected.contains("ran over; systemd-219-62.el7.x86_64, fixed in 219-"),
        "{affected}"
    );
    let fixed = said(&["--systemd", "219-62.el7_6.9"], bus);
    assert!(
        fixed.contains("a symptom; the cause is not determined"),
        "{fixed}"
    );
    let fork = "runtime/cgo: pthread_create failed: Resource temporarily unavailable\n";
    assert!(said(&[], fork).contains("no process or thread numbers left"));
    assert!(said(&["--container"], fork).contains("its own limit of processes"));
}

#[test]
fn whoever_stops_reading_is_no_error() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("log"), PLEG.repeat(3)).unwrap();
    let mut child = Command::new(env!("CARGO_BIN_EXE_refloat"))
        .args(["diagnose", "log", "-o", "wide"])
        .current_dir(folder.path())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let ran = child.wait_with_output().unwrap();
    assert_eq!(
        (ran.status.code(), text(&ran.stderr).as_str()),
        (Some(6), "")
    );
}
