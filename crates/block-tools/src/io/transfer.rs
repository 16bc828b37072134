//! Reading and writing.

use std::time::Instant;

use block_common::limits::MAX_REQUEST;
use block_gs::{BqlGuard, Perm};
use block_io::{DestinationVec, IoError, Root, SourceVec, WriteFlags};

use super::command::{Command, Failed};
use super::memory::{Memory, UNREAD, WRITTEN, pattern};
use super::report::{Done, Style, dump};
use super::session::{Session, reason};
use crate::getopt::{Known, Parsed};
use crate::human;

const SHARED_HELP: &str = " -C  statistics with commas, for programs
 -P  the byte that is written, or that must have been read
 -q  no statistics";

pub(super) static COMMANDS: &[Command] = &[
    Command {
        short: Some("r"),
        words: (2, None),
        usage: Some("[-abCqrv] [-P pattern [-s off] [-l len]] off len"),
        more: " Reads LEN bytes from OFF on. Sizes may have suffixes: 'read -v 512 1k'.

 -b  from the state of the machine instead of the contents
 -C  statistics with commas, for programs
 -l  how much of it must match the pattern (with -P)
 -P  the byte that must have been read
 -q  no statistics
 -r  with memory that the drivers were told of
 -s  from where on it must match the pattern (with -P)
 -v  shows what was read",
        options: &[
            Known::letter('a'),
            Known::letter('b'),
            Known::letter('C'),
            Known::letter('l').value(),
            Known::letter('p'),
            Known::letter('P').value(),
            Known::letter('q'),
            Known::letter('r'),
            Known::letter('s').value(),
            Known::letter('v'),
        ],
        ..Command::new(
            "read",
            "reads a number of bytes at a specified offset",
            read,
        )
    },
    Command {
        words: (2, None),
        usage: Some("[-Cqrv] [-P pattern] off len [len..]"),
        more: " Reads into several pieces of memory: 'readv -v 512 1k 1k'.
 -v shows what was read.",
        options: VECTOR_OPTIONS,
        ..Command::new(
            "readv",
            "reads a number of bytes at a specified offset",
            readv,
        )
    },
    Command {
        short: Some("w"),
        words: (2, None),
        usage: Some("[-bcCfnqruz] [-P pattern | -s source_file] off len"),
        more: " Writes LEN bytes from OFF on, each 0xcd: 'write 512 1k'.

 -b  to the state of the machine instead of the contents
 -c  compressed
 -C  statistics with commas, for programs
 -f  and waits until they are on the medium
 -n  with -z: fails where zeroes would have to be sent
 -P  another byte
 -q  no statistics
 -r  with memory that the drivers were told of
 -s  what is in a file, again and again
 -u  with -z: may give space back
 -z  zeroes, without sending them",
        options: &[
            Known::letter('b'),
            Known::letter('c'),
            Known::letter('C'),
            Known::letter('f'),
            Known::letter('n'),
            Known::letter('p'),
            Known::letter('P').value(),
            Known::letter('q'),
            Known::letter('r'),
            Known::letter('s').value(),
            Known::letter('u'),
            Known::letter('z'),
        ],
        perm: Perm::WRITE,
        ..Command::new(
            "write",
            "writes a number of bytes at a specified offset",
            write,
        )
    },
    Command {
        words: (2, None),
        usage: Some("[-Cfqr] [-P pattern] off len [len..]"),
        more: SHARED_HELP,
        options: VECTOR_OPTIONS,
        perm: Perm::WRITE,
        ..Command::new(
            "writev",
            "writes a number of bytes at a specified offset",
            writev,
        )
    },
    Command {
        words: (2, None),
        usage: Some("[-Ciqrv] [-P pattern] off len [len..]"),
        more: " As readv, without waiting: aio_flush waits. Errors are printed, and do not
 count as a failure of the command. -i only counts it as an invalid request.",
        options: VECTOR_OPTIONS,
        ..Command::new(
            "aio_read",
            "asynchronously reads a number of bytes",
            aio_read,
        )
    },
    Command {
        words: (2, None),
        usage: Some("[-Cfiqruz] [-P pattern] off len [len..]"),
        more: " As writev, without waiting: aio_flush waits. Errors are printed, and do not
 count as a failure of the command. -z and -u are those of write; -i only
 counts it as an invalid request.",
        options: VECTOR_OPTIONS,
        perm: Perm::WRITE,
        ..Command::new(
            "aio_write",
            "asynchronously writes a number of bytes",
            aio_write,
        )
    },
    Command::new(
        "aio_flush",
        "completes all outstanding aio requests",
        aio_flush,
    ),
];

const VECTOR_OPTIONS: &[Known] = &[
    Known::letter('C'),
    Known::letter('f'),
    Known::letter('i'),
    Known::letter('p'),
    Known::letter('P').value(),
    Known::letter('q'),
    Known::letter('r'),
    Known::letter('u'),
    Known::letter('v'),
    Known::letter('z'),
];

fn print(message: impl Into<String>) -> Failed {
    Failed::Print(message.into())
}

pub(super) fn style(line: &Parsed) -> Style {
    match (line.has("q"), line.has("C")) {
        (true, _) => Style::Quiet,
        (false, true) => Style::Commas,
        (false, false) => Style::Words,
    }
}

pub(super) fn size(text: &str) -> Result<u64, Failed> {
    human::parse(text).map_err(Failed::Print)
}

/// The two words of a simple transfer.
fn range(line: &Parsed) -> Result<(u64, u64), Failed> {
    let [offset, length] = &line.arguments[..] else {
        return Err(Failed::Usage);
    };
    Ok((size(offset)?, size(length)?))
}

fn check_length(length: u64, text: &str, most: u64) -> Result<(), Failed> {
    match length > most {
        true => Err(print(format!("length cannot exceed {most}, given {text}"))),
        false => Ok(()),
    }
}

fn check_sectors(offset: u64, length: u64) -> Result<(), Failed> {
    for (value, what) in [(offset, "offset"), (length, "count")] {
        if value % 512 != 0 {
            return Err(print(format!(
                "{value} is not a sector-aligned value for '{what}'"
            )));
        }
    }
    Ok(())
}

fn failed(what: &str, error: &IoError) -> Failed {
    print(format!("{what} failed: {}", reason(error)))
}

fn read(bql: &mut BqlGuard, session: &mut Session, line: &Parsed) -> Result<(), Failed> {
    let expected = line.value("P").map(pattern).transpose()?;
    let from = line.value("s").map(size).transpose()?;
    let long = line.value("l").map(size).transpose()?;
    if expected.is_none() && (from.is_some() || long.is_some()) || line.arguments.len() != 2 {
        return Err(Failed::Usage);
    }
    let (offset, length) = range(line)?;
    check_length(length, &line.arguments[1], MAX_REQUEST)?;
    let from = from.unwrap_or(0);
    let long = long.or_else(|| length.checked_sub(from));
    let end = long.and_then(|long| from.checked_add(long));
    let Some(end) = end.filter(|end| *end <= length) else {
        return Err(print("pattern verification range exceeds end of read data"));
    };
    let vmstate = line.has("b");
    if vmstate {
        check_sectors(offset, length)?;
    }
    let root = session.root()?;
    let mut memory = Memory::filled(length as usize, UNREAD, session.misaligns());
    let begun = Instant::now();
    let done = bql.block_on(async {
        match vmstate {
            true => root.load_vmstate(offset, memory.destination()).await,
            false => root.read(offset, memory.destination()).await,
        }
    });
    let took = begun.elapsed();
    done.map_err(|error| failed("read", &error))?;
    let matches = match expected {
        Some(byte) => verify(
            &memory.bytes()[from as usize..end as usize],
            byte,
            offset + from,
        ),
        None => true,
    };
    tell_read(line, &memory, offset, took);
    match matches {
        true => Ok(()),
        false => Err(Failed::Said),
    }
}

fn verify(bytes: &[u8], byte: u8, offset: u64) -> bool {
    let matches = bytes.iter().all(|found| *found == byte);
    if !matches {
        println!(
            "Pattern verification failed at offset {offset}, {} bytes",
            bytes.len()
        );
    }
    matches
}

fn tell_read(line: &Parsed, memory: &Memory, offset: u64, took: std::time::Duration) {
    if line.has("q") {
        return;
    }
    if line.has("v") {
        print!("{}", dump(memory.bytes(), offset));
    }
    tell(line, "read", offset, memory.bytes().len() as u64, took);
}

pub(super) fn tell(
    line: &Parsed,
    verb: &'static str,
    offset: u64,
    bytes: u64,
    took: std::time::Duration,
) {
    let done = Done {
        verb,
        offset,
        asked: bytes,
        total: bytes,
        count: 1,
        took,
    };
    print!("{}", done.lines(style(line)));
}

/// The flags that `-f`, `-n` and `-u` stand for.
fn flags(line: &Parsed) -> Result<WriteFlags, Failed> {
    let mut flags = WriteFlags::empty();
    flags.set(WriteFlags::FUA, line.has("f"));
    for (letter, flag) in [("n", WriteFlags::NO_FALLBACK), ("u", WriteFlags::MAY_UNMAP)] {
        if line.has(letter) && !line.has("z") {
            return Err(print(format!("-{letter} requires -z to be specified")));
        }
        flags.set(flag, line.has(letter));
    }
    Ok(flags)
}

fn write(bql: &mut BqlGuard, session: &mut Session, line: &Parsed) -> Result<(), Failed> {
    let (vmstate, compressed, zeroes) = (line.has("b"), line.has("c"), line.has("z"));
    let byte = line.value("P").map(pattern).transpose()?;
    let file = line.value("s");
    if line.arguments.len() != 2 {
        return Err(Failed::Usage);
    }
    if vmstate && zeroes {
        return Err(print("-b and -z cannot be specified at the same time"));
    }
    if line.has("f") && (vmstate || compressed) {
        let text = "-f and -b or -c cannot be specified at the same time";
        return Err(print(text));
    }
    let flags = flags(line)?;
    let contents = [zeroes, byte.is_some(), file.is_some()];
    if contents.into_iter().filter(|given| *given).count() > 1 {
        let text = "Only one of -z, -P, and -s can be specified at the same time";
        return Err(print(text));
    }
    let (offset, length) = range(line)?;
    // What sends nothing has no such bound.
    if !line.has("n") {
        if length > MAX_REQUEST {
            let given = &line.arguments[1];
            return Err(print(format!(
                "length cannot exceed {MAX_REQUEST} without -n, given {given}"
            )));
        }
    }
    if vmstate || compressed {
        check_sectors(offset, length)?;
    }
    let root = session.root()?;
    let misaligned = session.misaligns();
    let memory = match file {
        _ if zeroes => Memory::filled(0, 0, false),
        Some(path) => Memory::from_file(length as usize, path, misaligned)?,
        None => Memory::filled(length as usize, byte.unwrap_or(WRITTEN), misaligned),
    };
    let begun = Instant::now();
    let done = bql.block_on(async {
        if vmstate {
            root.save_vmstate(offset, memory.source()).await
        } else if zeroes {
            root.write_zeroes(offset, length, flags).await
        } else if compressed {
            root.write_compressed(offset, memory.source()).await
        } else {
            root.write_with(offset, memory.source(), flags).await
        }
    });
    let took = begun.elapsed();
    done.map_err(|error| failed("write", &error))?;
    tell(line, "wrote", offset, length, took);
    Ok(())
}

/// A request whose memory is in pieces.
struct Vector {
    offset: u64,
    memory: Memory,
    pieces: Vec<usize>,
}

impl Vector {
    /// From the words of a command, filled with `byte`.
    fn new(line: &Parsed, byte: u8, misaligned: bool) -> Result<Vector, Failed> {
        let Some((offset, lengths)) = line.arguments.split_first() else {
            return Err(Failed::Usage);
        };
        if lengths.is_empty() {
            return Err(Failed::Usage);
        }
        let offset = size(offset)?;
        let mut pieces = Vec::new();
        let mut total = 0;
        for text in lengths {
            let length = size(text)?;
            if length > MAX_REQUEST {
                return Err(print(format!(
                    "Argument '{text}' exceeds maximum size {MAX_REQUEST}"
                )));
            }
            if length > MAX_REQUEST - total {
                return Err(print(format!(
                    "The total number of bytes exceed the maximum size {MAX_REQUEST}"
                )));
            }
            total += length;
            pieces.push(length as usize);
        }
        Ok(Vector {
            offset,
            memory: Memory::filled(total as usize, byte, misaligned),
            pieces,
        })
    }

    fn bytes(&self) -> u64 {
        self.memory.bytes().len() as u64
    }

    async fn read(&mut self, root: &Root) -> Result<(), IoError> {
        let mut whole = DestinationVec::new();
        let mut rest = self.memory.destination();
        for bytes in &self.pieces {
            let (piece, behind) = rest.split_at(*bytes);
            whole.push(piece);
            rest = behind;
        }
        root.read(self.offset, whole.destination()).await
    }

    async fn write(&self, root: &Root, flags: WriteFlags) -> Result<(), IoError> {
        let mut whole = SourceVec::new();
        let mut rest = self.memory.source();
        for bytes in &self.pieces {
            let (piece, behind) = rest.split_at(*bytes);
            whole.push(piece);
            rest = behind;
        }
        root.write_with(self.offset, whole.source(), flags).await
    }
}

fn readv(bql: &mut BqlGuard, session: &mut Session, line: &Parsed) -> Result<(), Failed> {
    let expected = line.value("P").map(pattern).transpose()?;
    let mut vector = Vector::new(line, UNREAD, session.misaligns())?;
    let root = session.root()?;
    let begun = Instant::now();
    let done = bql.block_on(vector.read(&root));
    let took = begun.elapsed();
    done.map_err(|error| failed("readv", &error))?;
    let matches = expected.is_none_or(|byte| verify(vector.memory.bytes(), byte, vector.offset));
    tell_read(line, &vector.memory, vector.offset, took);
    match matches {
        true => Ok(()),
        false => Err(Failed::Said),
    }
}

fn writev(bql: &mut BqlGuard, session: &mut Session, line: &Parsed) -> Result<(), Failed> {
    let byte = line.value("P").map(pattern).transpose()?;
    let vector = Vector::new(line, byte.unwrap_or(WRITTEN), session.misaligns())?;
    let mut flags = WriteFlags::empty();
    flags.set(WriteFlags::FUA, line.has("f"));
    let root = session.root()?;
    let begun = Instant::now();
    let done = bql.block_on(vector.write(&root, flags));
    let took = begun.elapsed();
    done.map_err(|error| failed("writev", &error))?;
    tell(line, "wrote", vector.offset, vector.bytes(), took);
    Ok(())
}

fn aio_read(bql: &mut BqlGuard, session: &mut Session, line: &Parsed) -> Result<(), Failed> {
    let expected = line.value("P").map(pattern).transpose()?;
    let root = session.root()?;
    if line.has("i") {
        root.statistics().invalid(block_io::accounting::Kind::Read);
        println!("injecting invalid read request");
        return Ok(());
    }
    let mut vector = Vector::new(line, UNREAD, session.misaligns())?;
    let line = line.clone();
    session.send(bql, async move {
        let begun = Instant::now();
        match vector.read(&root).await {
            Err(error) => println!("readv failed: {}", reason(&error)),
            Ok(()) => {
                let took = begun.elapsed();
                if let Some(byte) = expected {
                    verify(vector.memory.bytes(), byte, vector.offset);
                }
                tell_read(&line, &vector.memory, vector.offset, took);
            }
        }
    });
    Ok(())
}

fn aio_write(bql: &mut BqlGuard, session: &mut Session, line: &Parsed) -> Result<(), Failed> {
    let byte = line.value("P").map(pattern).transpose()?;
    let zeroes = line.has("z");
    let flags = flags(line)?;
    if zeroes && line.arguments.len() != 2 {
        return Err(print("-z supports only a single length parameter"));
    }
    let root = session.root()?;
    if line.has("i") {
        root.statistics().invalid(block_io::accounting::Kind::Write);
        println!("injecting invalid write request");
        return Ok(());
    }
    let line = line.clone();
    if zeroes {
        let (offset, length) = range(&line)?;
        session.send(bql, async move {
            let begun = Instant::now();
            let done = root.write_zeroes(offset, length, flags).await;
            tell_written(&line, done, offset, length, begun);
        });
        return Ok(());
    }
    let vector = Vector::new(&line, byte.unwrap_or(WRITTEN), session.misaligns())?;
    session.send(bql, async move {
        let begun = Instant::now();
        let done = vector.write(&root, flags).await;
        tell_written(&line, done, vector.offset, vector.bytes(), begun);
    });
    Ok(())
}

fn tell_written(line: &Parsed, done: Result<(), IoError>, offset: u64, bytes: u64, begun: Instant) {
    match done {
        Err(error) => println!("aio_write failed: {}", reason(&error)),
        Ok(()) => tell(line, "wrote", offset, bytes, begun.elapsed()),
    }
}

fn aio_flush(bql: &mut BqlGuard, session: &mut Session, _line: &Parsed) -> Result<(), Failed> {
    session.wait_for_all(bql);
    Ok(())
}
