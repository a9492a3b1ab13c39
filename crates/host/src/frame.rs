//! Frames of the agent's connection: a big-endian `u32` length, one byte of kind, then that many bytes. A frame that
//! claims more than [`MAX_FRAME`] ends the connection before anything is allocated for it.

/// The most bytes of a frame's content.
pub const MAX_FRAME: usize = 512 * 1024;

const MESSAGE: u8 = 0;
const DATA: u8 = 1;
const HEAD: usize = 5;

/// A frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Frame {
    /// A message as JSON.
    Message(Vec<u8>),
    /// Bytes of a file that an ask streams.
    Data {
        /// The ask.
        ask: u64,
        /// The bytes.
        bytes: Vec<u8>,
    },
}

/// What cannot be a frame. The connection is not usable after it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// Longer than allowed.
    #[error("a frame of {length} bytes; at most {MAX_FRAME} are allowed")]
    TooLong {
        /// What it claims.
        length: usize,
    },
    /// A kind that this version does not know.
    #[error("a frame of unknown kind {kind}")]
    Kind {
        /// The byte.
        kind: u8,
    },
    /// Data without the number of its ask.
    #[error("a data frame of {length} bytes has no room for the number of its ask")]
    Headless {
        /// What it claims.
        length: usize,
    },
}

impl Frame {
    /// As bytes. Content beyond [`MAX_FRAME`] is the caller's mistake and is refused.
    pub fn encode(&self) -> Result<Vec<u8>, FrameError> {
        let (kind, number, content): (u8, &[u8], &[u8]) = match self {
            Self::Message(json) => (MESSAGE, &[], json),
            Self::Data { ask, bytes } => (DATA, &ask.to_be_bytes(), bytes),
        };
        let length = number.len() + content.len();
        let claim = u32::try_from(length)
            .ok()
            .filter(|_| length <= MAX_FRAME)
            .ok_or(FrameError::TooLong { length })?;
        let mut out = Vec::with_capacity(HEAD + length);
        out.extend_from_slice(&claim.to_be_bytes());
        out.push(kind);
        out.extend_from_slice(number);
        out.extend_from_slice(content);
        Ok(out)
    }
}

/// Puts frames together from bytes as they come.
#[derive(Debug, Default)]
pub struct Frames {
    bytes: Vec<u8>,
}

impl Frames {
    /// Adds bytes.
    pub fn push(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    /// The next whole frame, if it is there.
    pub fn take(&mut self) -> Result<Option<Frame>, FrameError> {
        let Some((head, rest)) = self.bytes.split_first_chunk::<HEAD>() else {
            return Ok(None);
        };
        let [a, b, c, d, kind] = *head;
        let length = u32::from_be_bytes([a, b, c, d]) as usize;
        if length > MAX_FRAME {
            return Err(FrameError::TooLong { length });
        }
        if kind > DATA {
            return Err(FrameError::Kind { kind });
        }
        if kind == DATA && length < size_of::<u64>() {
            return Err(FrameError::Headless { length });
        }
        let Some(content) = rest.get(..length) else {
            return Ok(None);
        };
        let frame = match (kind, content.split_first_chunk()) {
            (DATA, Some((ask, bytes))) => Frame::Data {
                ask: u64::from_be_bytes(*ask),
                bytes: bytes.to_vec(),
            },
            _ => Frame::Message(content.to_vec()),
        };
        self.bytes.drain(..HEAD + length);
        Ok(Some(frame))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_come_out_as_they_went_in_whatever_the_cuts() {
        let frames = [
            Frame::Message(b"{}".to_vec()),
            Frame::Data {
                ask: 7,
                bytes: vec![1; 1000],
            },
            Frame::Message(Vec::new()),
        ];
        let wire: Vec<u8> = frames
            .iter()
            .flat_map(|frame| frame.encode().unwrap())
            .collect();
        for cut in 1..wire.len() {
            let mut reader = Frames::default();
            let mut out = Vec::new();
            for piece in wire.chunks(cut) {
                reader.push(piece);
                while let Some(frame) = reader.take().unwrap() {
                    out.push(frame);
                }
            }
            assert_eq!(out, frames, "cut every {cut} bytes");
        }
    }

    #[test]
    fn a_long_claim_ends_it_at_once() {
        let mut reader = Frames::default();
        reader.push(&[0xff, 0xff, 0xff, 0xff, 0]);
        assert_eq!(
            reader.take(),
            Err(FrameError::TooLong {
                length: 0xffff_ffff
            })
        );
        let long = Frame::Message(vec![0; MAX_FRAME + 1]);
        assert!(matches!(long.encode(), Err(FrameError::TooLong { .. })));
    }

    #[test]
    fn unknown_kinds_and_headless_data_are_refused() {
        for (bytes, error) in [
            ([0, 0, 0, 1, 9], FrameError::Kind { kind: 9 }),
            ([0, 0, 0, 3, 1], FrameError::Headless { length: 3 }),
        ] {
            let mut reader = Frames::default();
            reader.push(&bytes);
            assert_eq!(reader.take(), Err(error));
        }
    }
}
