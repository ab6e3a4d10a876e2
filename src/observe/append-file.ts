import {
  closeSync,
  constants,
  fchmodSync,
  fdatasyncSync,
  fstatSync,
  ftruncateSync,
  openSync,
  type Stats,
  writeSync,
} from "node:fs";

/**
 * A file that only grows, by whole chunks: a chunk that could not be written wholly is taken back, so that a full
 * disk leaves the file as it was and the next try can succeed. One writer a file.
 */
export class AppendFile implements Disposable {
  /** Tells the file from another one of the same name. */
  readonly inode: number;
  readonly #fd: number;
  readonly #calls: FileCalls;
  #size: number;
  #torn = false;
  #closed = false;

  private constructor(fd: number, stats: Stats, calls: FileCalls) {
    this.#fd = fd;
    this.#size = stats.size;
    this.inode = stats.ino;
    this.#calls = calls;
  }

  /**
   * Opens the file, making it with mode 0600 where there is none and taking wider rights away where there is one. A
   * symbolic link is refused.
   * @throws Error of node:fs.
   */
  static open(path: string, calls: FileCalls = SYSTEM_CALLS): AppendFile {
    const fd = openSync(
      path,
      constants.O_RDWR | constants.O_CREAT | constants.O_APPEND | constants.O_NOFOLLOW,
      0o600,
    );
    try {
      const stats = fstatSync(fd);
      if (!stats.isFile()) throw new Error("is not a regular file");
      if ((stats.mode & 0o077) !== 0) fchmodSync(fd, 0o600);
      return new AppendFile(fd, stats, calls);
    } catch (error) {
      closeSync(fd);
      throw error;
    }
  }

  /** Bytes in the file. */
  get size(): number {
    return this.#size;
  }

  /**
   * Writes the chunk wholly or not at all; with `sync` it is on the disk when the call returns.
   * @throws Error of node:fs; the file is as before, or will be put right by the next call.
   */
  append(chunk: Uint8Array, sync: boolean): void {
    if (this.#closed) throw new Error("the file is closed");
    if (this.#torn) this.#takeBack();
    try {
      for (let written = 0; written < chunk.length; ) {
        written += this.#calls.write(this.#fd, chunk, written, chunk.length - written);
      }
      if (sync) this.#calls.sync(this.#fd);
    } catch (error) {
      this.#torn = true;
      try {
        this.#takeBack();
      } catch {
        // The next append tries again before it writes; the first error tells more than this one.
      }
      throw error;
    }
    this.#size += chunk.length;
  }

  /** Cuts the file to this many bytes. @throws Error of node:fs. */
  truncate(size: number): void {
    this.#calls.truncate(this.#fd, size);
    this.#size = size;
  }

  [Symbol.dispose](): void {
    if (this.#closed) return;
    this.#closed = true;
    closeSync(this.#fd);
  }

  #takeBack(): void {
    this.#calls.truncate(this.#fd, this.#size);
    this.#torn = false;
  }
}

/** The calls that can fail on a full or broken disk. */
export interface FileCalls {
  /** Bytes written, which may be fewer than asked. */
  write(fd: number, chunk: Uint8Array, offset: number, length: number): number;
  sync(fd: number): void;
  truncate(fd: number, size: number): void;
}

const SYSTEM_CALLS: FileCalls = {
  write: (fd, chunk, offset, length) => writeSync(fd, chunk, offset, length),
  sync: fdatasyncSync,
  truncate: ftruncateSync,
};
