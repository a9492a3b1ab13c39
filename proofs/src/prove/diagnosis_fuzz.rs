//! Anything at all as a text: what is known, torn and mixed with bytes of any kind, and long texts of one shape.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Instant;

use anyhow::Result;
use diagnosis::diagnose_text;

use super::diagnosis_formats::{data, healthy_lines};
use super::random::Random;
use super::{Args, Proof, Size, Verdict};
use xtask::output;

pub(super) const PROOF: Proof = Proof {
    name: "diagnosis-fuzz",
    what: "whatever is given to diagnose: no panic, and twice the text takes twice the time",
    time: ["7 s", "3 min"],
    in_test: true,
    run: |args| Box::pin(fuzz(args)),
};

/// So much longer may twice the text take: a machine has other things to do as well.
const RATIO: f64 = 3.0;

async fn fuzz(args: Args) -> Result<Verdict> {
    let mut random = Random::new(args.seed);
    let listings = data("listings.txt")?;
    let mut pieces: Vec<String> = listings.lines().map(str::to_owned).collect();
    for name in ["variants.txt", "mechanisms.txt"] {
        pieces.extend(data(name)?.lines().map(str::to_owned));
    }
    pieces.extend(healthy_lines(&mut random)?);
    let texts = if args.size == Size::Full { 20_000 } else { 300 };
    let mut panics = 0;
    for _ in 0..texts {
        let text = torn(&pieces, &mut random);
        if catch_unwind(AssertUnwindSafe(|| diagnose_text(&text))).is_err() {
            panics += 1;
            output::line(&format!("panic on {text:?}"));
        }
    }
    output::line(&format!("{texts} torn texts, {panics} panics"));
    let (mut slow, mut slowest) = (0, f64::MAX);
    for (name, unit) in shapes(&listings, &pieces) {
        let take = |bytes: usize| {
            let text = unit.repeat(bytes / unit.len().max(1) + 1);
            let begin = Instant::now();
            let _ = diagnose_text(&text);
            (text.len() as f64 / 1e6, begin.elapsed().as_secs_f64())
        };
        let size = if args.size == Size::Full {
            2 << 20
        } else {
            8 << 10
        };
        let (_, once) = take(size);
        let (megabytes, twice) = take(2 * size);
        let (ratio, pace) = (twice / once.max(1e-9), megabytes / twice.max(1e-9));
        slowest = slowest.min(pace);
        // Small runs beside other things: times say nothing then.
        slow += usize::from(args.size == Size::Full && ratio > RATIO);
        output::line(&format!("{name:<28} {pace:>8.1} MB/s   2n/n {ratio:.2}"));
    }
    Ok(Verdict::new(
        panics == 0 && slow == 0,
        format!("{panics} panics in {texts} texts, {slow} slow shapes, slowest {slowest:.1} MB/s"),
    ))
}

/// Pieces of what is known, cut anywhere, between bytes of any kind.
fn torn(pieces: &[String], random: &mut Random) -> String {
    let mut bytes = Vec::new();
    for _ in 0..1 + random.below(24) {
        let piece = pieces[random.below(pieces.len() as u64) as usize].as_bytes();
        let from = random.below(piece.len() as u64 + 1) as usize;
        let from = if random.below(3) == 0 { from } else { 0 };
        let to = from + random.below((piece.len() - from) as u64 + 1) as usize;
        let to = if random.below(3) == 0 {
            to
        } else {
            piece.len()
        };
        bytes.extend_from_slice(&piece[from..to]);
        match random.below(8) {
            0 => bytes.extend_from_slice("磁盘空间不足：设备上没有空间 — “x”".as_bytes()),
            1 => bytes.extend((0..random.below(9)).map(|_| random.next() as u8)),
            2 => bytes.extend_from_slice(b"\0\t\r18446744073709551616 -1 1e999 nan % : = [ ] { }"),
            _ => {}
        }
        if random.below(4) > 0 {
            bytes.push(b'\n');
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Units that are repeated to make a long text: each listing, logs, and what might make a reader look far.
fn shapes(listings: &str, pieces: &[String]) -> Vec<(String, String)> {
    let mut shapes: Vec<(String, String)> = listings
        .split("\n== ")
        .skip(1)
        .filter_map(|block| {
            let (head, text) = block.split_once('\n')?;
            Some((head.chars().take(28).collect(), format!("{text}\n\n")))
        })
        .collect();
    shapes.push(("logs".to_owned(), pieces.join("\n")));
    for unit in [
        "{\n",
        "[\n",
        "a\n{\n",
        "conditions:\n",
        "kind: Node\nconditions:\n- type: a\n",
        "[<0>] x\n",
        "Active: x\n",
        "Raid Level : x\n",
        "Personalities :\n",
        "PID COMMAND\n",
        "\"",
        "\\",
        "磁盘",
        "kernel: ",
        "a: ",
        "x ",
        "[1.1] ",
        "\u{0}",
        "MemTotal: 1\n",
        "Node 0, zone Normal 1 1\n",
        "NAME STATUS AGE VERSION\n",
        "Device %util\n",
        "avg-cpu:\n",
        "Label CE UE\n",
        "{\"kind\":",
    ] {
        shapes.push((format!("{unit:?}"), unit.to_owned()));
    }
    shapes
}
