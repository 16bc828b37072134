//! Packing and unpacking clusters.

use flate2::{Compress, Decompress, FlushCompress, FlushDecompress, Status};
use zstd::stream::raw::{DParameter, Decoder, InBuffer, Operation, OutBuffer};

use crate::format::header::Compression;

/// Readers of the format look back no further than this: 4 KiB.
const WINDOW_BITS: u8 = 12;

/// How far back a frame may look, as a power of two: four times the largest
/// cluster. A frame that says more would only make the decoder take memory.
const ZSTD_WINDOW: u32 = 23;

/// Unpacks exactly `length` bytes. What follows them in `packed` does not
/// matter: it is padded to whole sectors.
pub(crate) fn unpack(compression: Compression, packed: &[u8], length: usize) -> Option<Vec<u8>> {
    let mut out = vec![0; length];
    match compression {
        Compression::Zlib => {
            let mut inflate = Decompress::new(false);
            let status = inflate.decompress(packed, &mut out, FlushDecompress::Finish);
            // What is behind the last byte need not have been read.
            status.ok()?;
            (inflate.total_out() == length as u64).then_some(out)
        }
        Compression::Zstd => {
            let mut decoder = Decoder::new().ok()?;
            decoder
                .set_parameter(DParameter::WindowLogMax(ZSTD_WINDOW))
                .ok()?;
            let mut input = InBuffer::around(packed);
            let mut output = OutBuffer::around(&mut out[..]);
            while output.pos() < length {
                let before = (input.pos(), output.pos());
                decoder.run(&mut input, &mut output).ok()?;
                if (input.pos(), output.pos()) == before {
                    return None;
                }
            }
            Some(out)
        }
    }
}

/// Packs a cluster. `None` when it would not get shorter.
pub(crate) fn pack(compression: Compression, data: &[u8]) -> Option<Vec<u8>> {
    let room = data.len() - 1;
    let mut out = vec![0; room];
    match compression {
        Compression::Zlib => {
            let level = flate2::Compression::default();
            let mut deflate = Compress::new_with_window_bits(level, false, WINDOW_BITS);
            let status = deflate
                .compress(data, &mut out, FlushCompress::Finish)
                .ok()?;
            out.truncate(deflate.total_out() as usize);
            (status == Status::StreamEnd).then_some(out)
        }
        Compression::Zstd => {
            let mut compressor =
                zstd::bulk::Compressor::new(zstd::DEFAULT_COMPRESSION_LEVEL).ok()?;
            let length = compressor.compress_to_buffer(data, &mut out[..]).ok()?;
            out.truncate(length);
            Some(out)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn what_was_packed_is_unpacked(seed in any::<u8>(), zstd in any::<bool>(), run in 1usize..300) {
            let compression = if zstd { Compression::Zstd } else { Compression::Zlib };
            let data: Vec<u8> = (0..65536).map(|at| (at / run) as u8 ^ seed).collect();
            let mut packed = pack(compression, &data).expect("it repeats");
            prop_assert!(packed.len() < data.len());
            packed.extend([0xaa; 300]);
            prop_assert_eq!(unpack(compression, &packed, data.len()), Some(data));
        }

        #[test]
        fn anything_is_unpacked_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..600), zstd in any::<bool>()) {
            let compression = if zstd { Compression::Zstd } else { Compression::Zlib };
            let _ = unpack(compression, &bytes, 4096);
        }
    }

    #[test]
    fn what_cannot_be_packed_is_not() {
        let data = test_support::pattern(4096, 1);
        assert_eq!(pack(Compression::Zlib, &data), None);
        assert_eq!(pack(Compression::Zstd, &data), None);
    }
}
