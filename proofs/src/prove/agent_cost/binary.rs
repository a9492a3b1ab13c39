//! The agent as it is installed: one static program. What its file says of what it needs.

use std::path::PathBuf;

use anyhow::{Context, Result, ensure};

use xtask::{output, run};

/// Of program headers: the loader that the kernel starts instead, and notes.
const INTERPRETER: u32 = 3;
const NOTES: u32 = 4;
/// The note by which a program says what kernel it needs.
const ABI_TAG: u32 = 1;

/// The agent's file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Binary {
    pub(super) bytes: usize,
    /// It needs no loader, hence no library.
    pub(super) is_static: bool,
    /// The oldest kernel that its C library runs on.
    pub(super) kernel: [u32; 3],
}

/// Builds the agent as `docs/agent.md` says. In a folder of its own: by other flags everything else would be built anew.
pub(super) fn build() -> Result<PathBuf> {
    let target = format!("{}-unknown-linux-gnu", std::env::consts::ARCH);
    let folder = run::target().join("agent-static");
    let mut cargo = run::cargo();
    cargo
        .args(["build", "--quiet", "--release", "--package", "agent"])
        .args(["--target", &target])
        .arg("--target-dir")
        .arg(&folder)
        .env("RUSTFLAGS", "-C target-feature=+crt-static");
    let path = folder.join(target).join("release/refloat-agent");
    if !path.exists() {
        output::line("building the static agent: some minutes, once");
    }
    run::capture(&mut cargo).context("build the static agent")?;
    ensure!(path.exists(), "no {}", path.display());
    Ok(path)
}

/// Reads a 64-bit ELF file of this machine's byte order.
pub(super) fn inspect(file: &[u8]) -> Result<Binary> {
    ensure!(
        file.starts_with(b"\x7fELF\x02\x01"),
        "no 64-bit little-endian ELF file"
    );
    let (headers, each) = (long(file, 32)?, short(file, 54)?);
    let (mut is_static, mut kernel) = (true, None);
    for number in 0..short(file, 56)? {
        let header = part(file, headers + number * each, each)?;
        match word(header, 0)? {
            INTERPRETER => is_static = false,
            NOTES => {
                let notes = part(file, long(header, 8)?, long(header, 32)?)?;
                kernel = kernel.or(needed_kernel(notes)?);
            }
            _ => {}
        }
    }
    Ok(Binary {
        bytes: file.len(),
        is_static,
        kernel: kernel.context("it does not say what kernel it needs")?,
    })
}

fn needed_kernel(notes: &[u8]) -> Result<Option<[u32; 3]>> {
    let mut at = 0;
    while at < notes.len() {
        let name = usize::try_from(word(notes, at)?)?;
        let size = usize::try_from(word(notes, at + 4)?)?;
        let is_tag = word(notes, at + 8)? == ABI_TAG && part(notes, at + 12, name)? == b"GNU\0";
        let content = at + 12 + name.next_multiple_of(4);
        if is_tag {
            let number = |field: usize| word(notes, content + 4 * field);
            // The first word is the system: 0 is Linux.
            return Ok(Some([number(1)?, number(2)?, number(3)?]));
        }
        at = content + size.next_multiple_of(4);
    }
    Ok(None)
}

fn part(file: &[u8], at: usize, size: usize) -> Result<&[u8]> {
    let end = at.checked_add(size).context("a damaged ELF file")?;
    file.get(at..end).context("an ELF file that is cut off")
}

fn short(file: &[u8], at: usize) -> Result<usize> {
    Ok(u16::from_le_bytes(part(file, at, 2)?.try_into()?).into())
}

fn word(file: &[u8], at: usize) -> Result<u32> {
    Ok(u32::from_le_bytes(part(file, at, 4)?.try_into()?))
}

fn long(file: &[u8], at: usize) -> Result<usize> {
    Ok(u64::from_le_bytes(part(file, at, 8)?.try_into()?).try_into()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_with_a_loader_is_not_static() {
        let mut file = std::fs::read("/proc/self/exe").unwrap();
        let seen = inspect(&file).unwrap();
        assert!(!seen.is_static && seen.kernel[0] >= 2, "{seen:?}");
        let (headers, each) = (long(&file, 32).unwrap(), short(&file, 54).unwrap());
        for number in 0..short(&file, 56).unwrap() {
            let at = headers + number * each;
            if word(&file, at).unwrap() == INTERPRETER {
                file[at..at + 4].fill(0);
            }
        }
        assert!(inspect(&file).unwrap().is_static);
        for size in [0, 5, 40, headers + each / 2] {
            assert!(inspect(&file[..size]).is_err(), "{size}");
        }
    }
}
