//! `raw`: pass-through and windows.

use std::fs;

use block_common::error::errno;
use block_drivers::{File, NullCo, Raw};
use block_gs::{BqlGuard, GraphError, IoError, IoThread, Node, NodeOptions, Perm, Role};
use block_io::aio::Wait;
use block_io::{Buffer, CopyTarget, Request};
use tempfile::TempDir;

use crate::support::{
    READ_WRITE, backend, disk, in_layer, pattern, read, read_as_parent, write, write_as_parent,
};

const LENGTH: usize = 8192;

fn file(bql: &mut BqlGuard, directory: &TempDir) -> (Node, Vec<u8>) {
    let bytes = pattern(LENGTH, 7);
    let path = directory.path().join("image");
    fs::write(&path, &bytes).expect("written");
    (File::new(path).open(bql, "file").expect("opened"), bytes)
}

fn contents(directory: &TempDir) -> Vec<u8> {
    fs::read(directory.path().join("image")).expect("read")
}

fn file_edge(bql: &BqlGuard, node: &Node) -> (Role, Perm, Perm) {
    let edge = node.view(bql).child("file").expect("a file");
    (edge.role(), edge.perm(), edge.shared())
}

#[test]
fn without_a_window_everything_passes() {
    in_layer(|bql, directory| {
        let (file, mut bytes) = file(bql, directory);
        let node = Raw::over(&file).open(bql, "raw").expect("opened");
        assert_eq!(file_edge(bql, &node).0, Role::FILTERED | Role::PRIMARY);
        assert_eq!(node.io().length(), LENGTH as u64);
        let disk = disk(bql, &node);
        assert_eq!(read(bql, &disk, 3, 5000).expect("read"), bytes[3..5003]);
        write(bql, &disk, 4090, b"through").expect("written");
        bytes[4090..4097].copy_from_slice(b"through");
        assert_eq!(contents(directory), bytes);
    });
}

#[test]
fn a_window_shows_its_bytes_and_no_others() {
    in_layer(|bql, directory| {
        let (file, mut bytes) = file(bql, directory);
        let node = Raw::over(&file).offset(1001).size(Some(1024));
        let node = node.open(bql, "raw").expect("opened");
        assert_eq!(file_edge(bql, &node).0, Role::DATA | Role::PRIMARY);
        assert_eq!(node.io().length(), 1024);
        let disk = disk(bql, &node);
        let all = read(bql, &disk, 0, 1024).expect("read");
        assert_eq!(all, bytes[1001..2025]);
        let crossing = read_as_parent(bql, &disk, 1000, 100).expect("read");
        assert_eq!(crossing[..24], bytes[2001..2025]);
        assert_eq!(crossing[24..], [0; 76], "what lies behind stays hidden");

        write(bql, &disk, 1020, b"last").expect("written");
        bytes[2021..2025].copy_from_slice(b"last");
        assert_eq!(contents(directory), bytes);
        assert!(read(bql, &disk, 1024, 1).is_err());
        assert!(write(bql, &disk, 1021, b"over").is_err());
        assert_eq!(contents(directory), bytes);
    });
}

#[test]
fn a_window_with_a_size_has_no_space_to_grow_and_one_without_grows_the_file() {
    in_layer(|bql, directory| {
        let (file, bytes) = file(bql, directory);
        let sized = Raw::over(&file).offset(7000).size(Some(512));
        let sized = sized.open(bql, "sized").expect("opened");
        let resizer = backend(bql, &sized, READ_WRITE | Perm::RESIZE).expect("nobody objects");
        let full = write_as_parent(bql, &resizer, 510, b"abc").expect_err("no space");
        assert_eq!(full.errno(), errno::ENOSPC);
        assert_eq!(contents(directory), bytes);
        assert_eq!(sized.io().length(), 512);
        resizer.remove(bql);

        let open = Raw::over(&file).offset(8000).open(bql, "open");
        let open = open.expect("opened");
        assert_eq!(open.io().length(), 192);
        let resizer = backend(bql, &open, READ_WRITE | Perm::RESIZE);
        // The other window needs the file to stay as long as it is.
        assert!(matches!(
            resizer,
            Err(GraphError::PermissionConflict { .. })
        ));
        drop(sized);
        bql.poll(Wait::No);
        let resizer = backend(bql, &open, READ_WRITE | Perm::RESIZE).expect("alone now");
        write_as_parent(bql, &resizer, 192, b"abc").expect("written");
        assert_eq!(open.io().length(), 195);
        assert_eq!(file.io().length(), 8195);
        assert_eq!(contents(directory)[8192..], *b"abc");
    });
}

#[test]
fn the_child_is_written_and_resized_exactly_when_the_node_is() {
    in_layer(|bql, _| {
        let asked = [
            Perm::CONSISTENT_READ,
            READ_WRITE,
            READ_WRITE | Perm::RESIZE,
            Perm::WRITE_UNCHANGED,
            Perm::RESIZE,
        ];
        for size in [None, Some(512)] {
            for perm in asked {
                let null = NullCo::new(4096).open(bql, "").expect("opened");
                let node = Raw::over(&null).size(size).open(bql, "").expect("opened");
                backend(bql, &node, perm).expect("nobody objects");
                let (_, below, shared) = file_edge(bql, &node);
                assert_eq!(below, perm, "size {size:?}");
                let may_resize = shared.contains(Perm::RESIZE);
                assert_eq!(may_resize, size.is_none(), "size {size:?}");
            }
        }
    });
}

#[test]
fn a_window_that_does_not_fit_is_refused_in_qemus_words() {
    in_layer(|bql, directory| {
        let (file, _) = file(bql, directory);
        let mut refused = |offset, size| {
            let node = Raw::over(&file).offset(offset).size(size).open(bql, "raw");
            let error = node.expect_err("it does not fit");
            assert_eq!(error.errno(), errno::EINVAL);
            error.to_string()
        };
        assert_eq!(
            refused(8193, None),
            "Offset (8193) cannot be greater than size of the containing file (8192)"
        );
        assert_eq!(
            refused(u64::MAX, Some(u64::MAX)),
            "Offset (18446744073709551615) cannot be greater than size of the containing file \
             (8192)"
        );
        assert_eq!(
            refused(512, Some(8192)),
            "The sum of offset (512) and size (8192) has to be smaller or equal to the  actual \
             size of the containing file (8192)"
        );
        assert_eq!(
            refused(0, Some(100)),
            "Specified size is not multiple of 512"
        );
        let empty = Raw::over(&file).offset(8192).open(bql, "empty");
        assert_eq!(empty.expect("just fits").io().length(), 0);
    });
}

#[test]
fn an_empty_request_does_nothing_wherever_it_is() {
    in_layer(|bql, directory| {
        let (file, bytes) = file(bql, directory);
        for size in [Some(512), None] {
            let node = Raw::over(&file).offset(1).size(size).open(bql, "");
            let node = node.expect("opened");
            let length = node.io().length();
            let disk = backend(bql, &node, READ_WRITE | Perm::RESIZE).expect("nobody objects");
            for offset in [0, length, length + 1, 1 << 40] {
                read_as_parent(bql, &disk, offset, 0).expect("nothing read");
                write_as_parent(bql, &disk, offset, &[]).expect("nothing written");
            }
            assert_eq!(node.io().length(), length, "it does not even grow");
            drop((disk, node));
            bql.poll(Wait::No);
        }
        assert_eq!(file.io().length(), LENGTH as u64);
        assert_eq!(contents(directory), bytes);
    });
}

#[test]
fn windows_nest() {
    in_layer(|bql, directory| {
        let (file, mut bytes) = file(bql, directory);
        let outer = Raw::over(&file).offset(1000).size(Some(4096));
        let outer = outer.open(bql, "outer").expect("opened");
        let middle = Raw::over(&outer).open(bql, "middle").expect("opened");
        let inner = Raw::over(&middle).offset(3001).open(bql, "inner");
        let inner = inner.expect("opened");
        assert_eq!(inner.io().length(), 1095);
        let disk = disk(bql, &inner);
        let got = read(bql, &disk, 0, 1095).expect("read");
        assert_eq!(got, bytes[4001..5096]);
        write(bql, &disk, 1092, b"end").expect("written");
        bytes[5093..5096].copy_from_slice(b"end");
        assert_eq!(contents(directory), bytes);

        let too_far = Raw::over(&inner).offset(1096).open(bql, "");
        assert!(too_far.is_err(), "measured at its own child");
    });
}

#[test]
fn a_window_moves_in_a_drained_section() {
    in_layer(|bql, directory| {
        let (file, bytes) = file(bql, directory);
        let node = Raw::over(&file).size(Some(512)).open(bql, "raw");
        let node = node.expect("opened");
        let disk = disk(bql, &node);
        Raw::set_window(&mut node.drain(bql), 4000, None).expect("fits");
        assert_eq!(node.io().length(), 4192);
        let got = read(bql, &disk, 0, 4192).expect("read");
        assert_eq!(got, bytes[4000..]);

        let error = Raw::set_window(&mut node.drain(bql), 0, Some(8704));
        let text = error.expect_err("too long").to_string();
        assert!(text.starts_with("The sum of offset (0) and size (8704)"));
        assert_eq!(node.io().length(), 4192, "nothing has changed");
        assert_eq!(read(bql, &disk, 0, 1).expect("read"), bytes[4000..4001]);
    });
}

#[test]
fn only_a_window_can_be_moved() {
    in_layer(|bql, directory| {
        let (file, _) = file(bql, directory);
        let whole = Raw::over(&file).open(bql, "whole").expect("opened");
        let error = Raw::set_window(&mut whole.drain(bql), 512, None).expect_err("a filter");
        assert_eq!(
            error.to_string(),
            "Node 'whole' was opened without offset and size, and shows all of its file"
        );
        let error = Raw::set_window(&mut file.drain(bql), 512, None).expect_err("another driver");
        assert_eq!(error.to_string(), "Node 'file' is not a raw image");
    });
}

/// Requests run in an iothread while the window jumps between two areas with
/// different bytes: none may see parts of both, or fail.
#[test]
fn requests_see_the_old_window_or_the_new_one() {
    in_layer(|bql, directory| {
        let path = directory.path().join("image");
        let mut bytes = vec![1; 4096];
        bytes.extend([2; 4096]);
        fs::write(&path, bytes).expect("written");
        let file = File::new(path).open(bql, "file").expect("opened");
        let node = Raw::over(&file).size(Some(4096)).open(bql, "raw");
        let node = node.expect("opened");
        let disk = disk(bql, &node);
        let iothread = IoThread::create(bql, "io0").expect("an iothread");
        let root = disk.root().clone();
        let reader = iothread.context().spawn(async move {
            let mut seen = [0; 3];
            let mut buffer = Buffer::zeroed(4096);
            for _ in 0..2000 {
                root.read(0, buffer.destination()).await?;
                let first = buffer.as_slice()[0];
                assert!(buffer.as_slice().iter().all(|&byte| byte == first));
                seen[usize::from(first)] += 1;
            }
            Ok::<_, block_io::IoError>(seen)
        });
        let mut offset = 0;
        while !reader.is_finished() {
            offset = 4096 - offset;
            Raw::set_window(&mut node.drain(bql), offset, Some(4096)).expect("fits");
        }
        let seen = bql.block_on(reader).expect("read");
        assert_eq!(seen, [0, seen[1], 2000 - seen[1]]);
    });
}

#[test]
fn a_window_ends_where_its_file_ends() {
    in_layer(|bql, directory| {
        let (file, _) = file(bql, directory);
        let node = Raw::over(&file).offset(4096).size(Some(4096));
        let node = node.open(bql, "raw").expect("opened");
        let image = directory.path().join("image");
        let refresh = |bql: &mut BqlGuard, node: &Node| -> u64 {
            node.drain(bql)
                .io(async |request: Request<'_>| request.refresh_length().await)
                .expect("known")
        };
        for (file_length, shown) in [(5000, 904), (4096, 0), (100, 0), (1 << 20, 4096)] {
            let image = fs::OpenOptions::new().write(true).open(&image);
            image
                .and_then(|image| image.set_len(file_length))
                .expect("resized");
            assert_eq!(refresh(bql, &file), file_length);
            assert_eq!(refresh(bql, &node), shown);
        }
    });
}

#[test]
fn a_read_only_one_is_not_written() {
    in_layer(|bql, directory| {
        let (file, _) = file(bql, directory);
        let node = Raw::over(&file).read_only(true).open(bql, "raw");
        let node = node.expect("opened");
        let refused = backend(bql, &node, READ_WRITE);
        assert!(matches!(refused, Err(GraphError::ReadOnly)));
        backend(bql, &file, READ_WRITE).expect("the file itself is writable");
    });
}

/// No image with an `L` in front.
fn is_raw(beginning: &[u8]) -> bool {
    assert_eq!(beginning.len(), 512, "whole sectors are looked at");
    !beginning.starts_with(b"L")
}

#[test]
fn a_guarded_image_is_not_written_so_that_it_looks_like_a_format() {
    in_layer(|bql, directory| {
        let (file, bytes) = file(bql, directory);
        let node = Raw::over(&file)
            .guarded(is_raw)
            .open(bql, "raw")
            .expect("opened");
        let driver = node.driver::<Raw>().expect("raw");
        assert!(driver.is_guarded());
        assert_eq!(file_edge(bql, &node).0, Role::FILTERED | Role::PRIMARY);
        let disk = disk(bql, &node);
        for bytes in [&b"L"[..], b"Lxxx", &[b'L'; 512], &[b'L'; 5000]] {
            let refused = write(bql, &disk, 0, bytes).expect_err("looks like an L");
            assert_eq!(refused.errno(), errno::EPERM);
        }
        assert_eq!(contents(directory), bytes);
        write(bql, &disk, 1, b"L").expect("not in front");
        write(bql, &disk, 512, &[b'L'; 512]).expect("not in front");
        write(bql, &disk, 0, &[b'K'; 700]).expect("no L");
        assert_eq!(contents(directory)[..700], [b'K'; 700]);
        let zeroed = disk
            .root()
            .write_zeroes(0, 700, block_io::WriteFlags::empty());
        bql.block_on(zeroed).expect("zeroes are nothing");
        assert_eq!(contents(directory)[..700], [0; 700]);
    });
}

#[test]
fn a_guarded_image_takes_no_copies_unseen() {
    in_layer(|bql, directory| {
        let (file, bytes) = file(bql, directory);
        let path = directory.path().join("source");
        fs::write(&path, [b'L'; 4096]).expect("written");
        let source = File::new(&path).open(bql, "source").expect("opened");
        let source = disk(bql, &source);
        let node = Raw::over(&file).guarded(is_raw).open(bql, "raw");
        let target = disk(bql, &node.expect("opened"));
        let none = block_io::WriteFlags::empty();
        let copy = |bql: &mut BqlGuard, to| {
            let end = CopyTarget {
                root: target.root(),
                offset: to,
            };
            let copied = source.root().copy_range(0, end, 1024, none);
            bql.block_on(copied).map_err(|error| error.errno())
        };
        assert_eq!(copy(bql, 0), Err(errno::ENOTSUP));
        assert_eq!(contents(directory), bytes);
        assert_eq!(copy(bql, 512), Ok(()));
        assert_eq!(contents(directory)[512..1536], [b'L'; 1024]);
    });
}

/// No image with an `L` in front and a `U` behind it, wherever that is.
fn is_no_lu(beginning: &[u8]) -> bool {
    !(beginning.starts_with(b"L") && beginning[1..].contains(&b'U'))
}

#[test]
fn parts_of_the_first_sector_of_a_guarded_image_are_looked_at_with_the_rest() {
    in_layer(|bql, directory| {
        let path = directory.path().join("image");
        fs::write(&path, [0; 4096]).expect("written");
        let file = File::new(&path).open(bql, "file").expect("opened");
        let node = Raw::over(&file).guarded(is_no_lu).open(bql, "raw");
        let disk = disk(bql, &node.expect("opened"));
        let refused = |outcome: Result<(), IoError>| {
            assert_eq!(outcome.expect_err("looks like LU").errno(), errno::EPERM);
        };
        write(bql, &disk, 300, b"U").expect("nothing in front");
        refused(write(bql, &disk, 0, b"L"));
        refused(write(bql, &disk, 0, &[b'L'; 300]));
        write(bql, &disk, 0, &[b'L'; 301]).expect("nothing behind");
        refused(write(bql, &disk, 511, b"U"));
        refused(write(bql, &disk, 511, b"UU"));
        write(bql, &disk, 512, b"U").expect("too far behind");
        let mut expected = [0; 4096];
        expected[..301].fill(b'L');
        expected[512] = b'U';
        assert_eq!(contents(directory), expected);
    });
}

#[test]
fn zeroes_in_a_part_of_the_first_sector_are_looked_at_too() {
    in_layer(|bql, directory| {
        let path = directory.path().join("image");
        fs::write(&path, [1; 4096]).expect("written");
        let file = File::new(&path).open(bql, "file").expect("opened");
        let is_raw = |beginning: &[u8]| beginning[7] != 0 || beginning[8] == 0;
        let node = Raw::over(&file).guarded(is_raw).open(bql, "raw");
        let disk = disk(bql, &node.expect("opened"));
        let mut zero = |offset, bytes| {
            let none = block_io::WriteFlags::empty();
            let zeroed = disk.root().write_zeroes(offset, bytes, none);
            bql.block_on(zeroed).map_err(|error| error.errno())
        };
        assert_eq!(zero(0, 8), Err(errno::EPERM));
        assert_eq!(zero(7, 1), Err(errno::EPERM));
        assert_eq!(contents(directory), [1; 4096]);
        assert_eq!(zero(4, 700), Ok(()));
        assert_eq!(zero(0, 512), Ok(()));
    });
}

#[test]
fn writes_to_the_first_sector_of_a_guarded_image_take_turns() {
    in_layer(|bql, directory| {
        let path = directory.path().join("image");
        for _ in 0..20 {
            fs::write(&path, [0; 4096]).expect("written");
            let file = File::new(&path).open(bql, "").expect("opened");
            let node = Raw::over(&file).guarded(is_no_lu).open(bql, "raw");
            let disk = disk(bql, &node.expect("opened"));
            let write = |bql: &BqlGuard, offset, byte| {
                let root = disk.root().clone();
                bql.context().clone().spawn(async move {
                    let in_flight = root.begin().await;
                    let buffer = Buffer::from(&[byte][..]);
                    in_flight.request()?.write(offset, buffer.source()).await
                })
            };
            let both = [write(bql, 0, b'L'), write(bql, 1, b'U')];
            let done = both.map(|task| bql.block_on(task).is_ok());
            assert_eq!(done.iter().filter(|&&done| done).count(), 1);
            assert!(is_no_lu(&contents(directory)));
            disk.remove(bql);
            bql.poll(Wait::No);
        }
    });
}

#[test]
fn the_first_sector_of_a_guarded_image_is_discarded_whole_or_not() {
    in_layer(|bql, directory| {
        let path = directory.path().join("image");
        fs::write(&path, [1; 1 << 16]).expect("written");
        let options = NodeOptions {
            unmap: true,
            ..NodeOptions::default()
        };
        let file = File::new(&path).options(options);
        let file = file.open(bql, "file").expect("opened");
        let node = Raw::over(&file).options(options).guarded(|_| true);
        let node = node.open(bql, "raw").expect("opened");
        let disk = disk(bql, &node);
        let discard = |bql: &mut BqlGuard, offset, bytes| {
            let discarded = disk.root().discard(offset, bytes);
            bql.block_on(discarded).expect("a hint");
        };
        discard(bql, 0, 100);
        discard(bql, 100, 300);
        discard(bql, 4, 1 << 15);
        assert_eq!(contents(directory)[..512], [1; 512]);
        discard(bql, 0, 1 << 16);
        let left = contents(directory);
        assert!(left[..512].iter().all(|byte| *byte == left[0]));
    });
}

#[test]
fn a_guarded_image_may_have_any_length() {
    for length in [1, 100, 511, 513, 1000] {
        in_layer(|bql, directory| {
            let path = directory.path().join("image");
            fs::write(&path, vec![b'x'; length]).expect("written");
            let file = File::new(&path).open(bql, "file").expect("opened");
            let node = Raw::over(&file).guarded(is_no_lu).open(bql, "raw");
            let disk = backend(bql, &node.expect("opened"), READ_WRITE);
            let disk = disk.expect("writable, though it cannot be resized");
            let last = length as u64 - 1;
            write(bql, &disk, last, b"U").expect("the last byte");
            if (2..512).contains(&length) {
                let refused = write(bql, &disk, 0, b"L").expect_err("looks like LU");
                assert_eq!(refused.errno(), errno::EPERM);
            }
            let mut expected = vec![b'x'; length];
            expected[length - 1] = b'U';
            assert_eq!(contents(directory), expected);
            assert!(write(bql, &disk, last + 1, b"x").is_err(), "behind the end");
        });
    }
}

#[test]
fn what_is_before_a_guarded_window_is_looked_at_too() {
    in_layer(|bql, directory| {
        let path = directory.path().join("image");
        fs::write(&path, [b'L'; 8192]).expect("written");
        let file = File::new(&path).open(bql, "file").expect("opened");
        let node = Raw::over(&file).offset(100).size(Some(4096));
        let node = node.guarded(is_no_lu).open(bql, "raw").expect("opened");
        let disk = disk(bql, &node);
        let refused = write(bql, &disk, 0, &[b'U'; 512]).expect_err("looks like LU");
        assert_eq!(refused.errno(), errno::EPERM);
        assert_eq!(contents(directory), [b'L'; 8192]);
        write(bql, &disk, 0, &[0; 512]).expect("no U");
        write(bql, &disk, 412, &[b'U'; 512]).expect("behind it");
    });
}
