//! Disks and arrays: `mdadm --detail`, `/proc/mdstat`, `smartctl`, `nvme smart-log`, `lsblk`.

use super::columns::{Columns, number};
use super::{Gathered, Page};
use crate::Cause::*;
use crate::Confidence;
use crate::told::Line;

/// Whoever prints more has not this form.
const LONGEST: usize = 80;

/// `mdadm --detail`, from its level on (`Detail.c`).
pub(super) fn mdadm(page: &Page<'_>, at: usize, gathered: &mut Gathered) -> usize {
    let name = (at.saturating_sub(4)..at)
        .rev()
        .map(|at| page.line(at))
        .find(|line| line.starts_with("/dev/md"));
    let name = name.unwrap_or_default().trim_end_matches(':');
    let mut read = 1;
    let mut lost: Vec<Line> = Vec::new();
    let mut failed = None;
    for offset in 1..LONGEST {
        let line = page.line(at + offset);
        let Some((key, value)) = line.split_once(" : ") else {
            let member = line.starts_with(|c: char| c.is_ascii_digit() || c == '-');
            if member && (line.contains("faulty") || line.contains("removed")) {
                lost.push(page.quote(at + offset));
            }
            if member || line.starts_with("Number") {
                read = offset + 1;
            } else if !line.is_empty() {
                break;
            }
            continue;
        };
        read = offset + 1;
        match key.trim() {
            "State" if value.contains("FAILED") || value.contains("degraded") => {
                failed = Some(page.quote(at + offset));
            }
            "Failed Devices" if number(value).is_some_and(|count| count > 0.0) => {
                lost.push(page.quote(at + offset));
            }
            _ => {}
        }
    }
    if let Some(state) = failed {
        let lines: Vec<Line> = std::iter::once(state).chain(lost).take(3).collect();
        let told = &mut gathered.told;
        told.show(RaidFailed, Confidence::High, name, 0.0, &lines);
    }
    read
}

/// `/proc/mdstat` (`md.c`, `md_seq_show`): a line of members, a line with `[2/1] [U_]`, perhaps one of progress.
pub(super) fn mdstat(page: &Page<'_>, at: usize, gathered: &mut Gathered) -> usize {
    let mut read = 1;
    let mut name = String::new();
    let mut members = None;
    for offset in 1..LONGEST * 4 {
        let line = page.line(at + offset);
        if let Some((array, rest)) = line.split_once(" : ") {
            if !array.starts_with("md") {
                break;
            }
            name = array.to_owned();
            members = rest.contains("(F)").then(|| page.quote(at + offset));
            // Its spares alone do not make an array: that is one that was never assembled.
            if rest.starts_with("inactive") && !rest.contains("(S)") {
                let line = [page.quote(at + offset)];
                let told = &mut gathered.told;
                told.show(RaidFailed, Confidence::Medium, &name, 0.0, &line);
            }
        } else if line.starts_with("unused devices") {
            return offset + 1;
        } else if let Some(state) = line
            .rsplit_once('[')
            .and_then(|(_, rest)| rest.split_once(']'))
            && line.contains(" blocks ")
        {
            let slots = state.0;
            let known = slots.len() >= 2 && slots.bytes().all(|b| b == b'U' || b == b'_');
            if known && slots.contains('_') {
                let lines: Vec<Line> = [Some(page.quote(at + offset)), members.take()]
                    .into_iter()
                    .flatten()
                    .collect();
                let told = &mut gathered.told;
                told.show(RaidFailed, Confidence::High, &name, 0.0, &lines);
            }
        }
        if !line.is_empty() {
            read = offset + 1;
        }
    }
    read
}

/// Attributes whose raw value counts sectors that are lost or about to be: reallocated, reported uncorrectable, pending,
/// offline uncorrectable.
const SECTORS: &[&str] = &["5", "187", "197", "198"];

/// `smartctl -A` of an ATA disk (`ataprint.cpp`). Normalised values and ages say nothing; the vendor's own verdict does.
pub(super) fn attributes(page: &Page<'_>, at: usize, gathered: &mut Gathered) -> usize {
    let columns = Columns::of(page.line(at));
    if !columns.has("ID#") || !columns.has("RAW_VALUE") {
        return 0;
    }
    let mut read = 1;
    for (at, line) in page.block(at + 1) {
        let row = columns.row(line);
        let Some(id) = row.cell(&["ID#"]).filter(|id| number(id).is_some()) else {
            break;
        };
        read += 1;
        let raw = row.cell(&["RAW_VALUE"]).unwrap_or_default();
        let raw = raw.split_whitespace().next().and_then(number);
        let quote = [page.quote(at)];
        let told = &mut gathered.told;
        if row
            .cell(&["WHEN_FAILED"])
            .is_some_and(|when| when == "FAILING_NOW" || when == "NOW")
        {
            told.show(DiskSmartFailed, Confidence::High, "", 0.0, &quote);
        } else if SECTORS.contains(&id)
            && let Some(raw) = raw.filter(|raw| *raw > 0.0)
        {
            told.show(DiskBadSector, Confidence::Medium, "", raw, &quote);
        }
    }
    read
}

/// `smartctl` and `nvme smart-log` of an NVMe disk: one value a line.
pub(super) fn nvme(page: &Page<'_>, at: usize, gathered: &mut Gathered) -> usize {
    let line = page.line(at);
    let Some((name, value)) = line.split_once(':') else {
        return 0;
    };
    let name = name.trim().to_ascii_lowercase().replace('_', " ");
    let value = value.trim();
    let first = value.split_whitespace().next().unwrap_or_default();
    let (cause, sure) = match name.as_str() {
        "critical warning" => {
            let bits = match first.strip_prefix("0x") {
                Some(hex) => u64::from_str_radix(hex, 16).ok(),
                None => first.parse().ok(),
            };
            match bits {
                Some(0) => return 1,
                // Bit 1 is temperature, which may pass.
                Some(bits) if bits & !2 != 0 => (DiskSmartFailed, Confidence::High),
                _ => return 0,
            }
        }
        "media and data integrity errors" | "media errors" => match number(first) {
            Some(0.0) => return 1,
            Some(_) => (DiskBadSector, Confidence::Medium),
            None => return 0,
        },
        "available spare" => {
            let threshold = (1..4).find_map(|next| {
                let (name, value) = page.line(at + next).split_once(':')?;
                let name = name.to_ascii_lowercase();
                name.contains("threshold").then(|| number(value)).flatten()
            });
            match number(first).zip(threshold) {
                Some((spare, threshold)) if spare < threshold => {
                    (DiskSmartFailed, Confidence::High)
                }
                Some(_) => return 1,
                None => return 0,
            }
        }
        _ => return 0,
    };
    let line = [page.quote(at)];
    gathered.told.show(cause, sure, "", 0.0, &line);
    1
}

/// `Elements in grown defect list: 35` of a SCSI disk.
pub(super) fn grown_defects(page: &Page<'_>, at: usize, gathered: &mut Gathered) -> usize {
    let Some((_, count)) = page.line(at).split_once("grown defect list:") else {
        return 0;
    };
    if let Some(count) = number(count).filter(|count| *count > 0.0) {
        let line = [page.quote(at)];
        let told = &mut gathered.told;
        told.show(DiskBadSector, Confidence::Medium, "", count, &line);
    }
    1
}

/// The log of a disk's own tests.
pub(super) fn self_test(page: &Page<'_>, at: usize, gathered: &mut Gathered) -> usize {
    if !page.line(at).starts_with('#') {
        return 0;
    }
    let line = [page.quote(at)];
    let told = &mut gathered.told;
    told.show(DiskBadSector, Confidence::High, "", 0.0, &line);
    1
}

/// `lsblk`: names and sizes, which say nothing of how a disk is.
pub(super) fn block_devices(page: &Page<'_>, at: usize, _: &mut Gathered) -> usize {
    let columns = Columns::of(page.line(at));
    if !columns.has("NAME") || !columns.has("SIZE") {
        return 0;
    }
    1 + page.block(at + 1).count()
}
