// What the checker remembers of every byte of a stretch of memory: who wrote it last, and who has read it since.
#pragma once

#include <array>
#include <memory>
#include <vector>

#include "emu/grid.h"

namespace emu {

/// Who: an operation, and within the kernel that runs now an interval of one of its threads. All 0: nobody.
struct Stamp {
  OpId op = 0;            // kNobody: written before anybody could race
  uint32_t interval = 0;  // 0 in operations that are no kernels
};

inline constexpr OpId kNobody = ~OpId{1};

/// How an earlier access stands to the one that happens now; from kWarp on the two are not ordered.
enum class Relation : uint8_t {
  kOrdered,
  kWarp,    // another lane of the warp
  kBlock,   // another warp of the block
  kGrid,    // another block
  kStream,  // another operation
};

struct Access {
  Stamp who;
  bool write = false;
  bool atomic = false;
  OpId settled = 0;  // an operation that is known to be ordered before this one: most of what is met is of one
  Relation (*relation)(Stamp earlier) = nullptr;
};

struct Finding {
  int fresh = 0;                           // bytes that the operation has not read (written) before
  bool unwritten = false;                  // it read a byte that nobody wrote
  Relation relation = Relation::kOrdered;  // to the rival, if there is one
  Stamp rival;
  bool rival_wrote = false;
};

/// Cells are kept for four bytes at once as long as all four have the same history, so that neighbours of 1 or 2 bytes
/// that belong to different threads do not look like one.
class Shadow {
 public:
  explicit Shadow(size_t bytes);

  /// Remembers an access to [offset, offset + bytes) and tells what was wrong with it.
  Finding access(size_t offset, size_t bytes, const Access& now);
  bool written(size_t offset) const;
  /// The bytes count as never written.
  void forget(size_t offset, size_t bytes);
  /// All bytes do; only the first `used` have a history.
  void reset(size_t used);

 private:
  static constexpr OpId kMany = ~OpId{0};  // in place of an operation: `interval` is a place in a table
  struct Cell {
    Stamp write;  // kMany: the four bytes have cells of their own
    Stamp read;   // kMany: there are several readers that are not ordered
  };
  using Bytes = std::array<Cell, 4>;
  using Readers = std::vector<Stamp>;
  template <class T>
  struct Table {
    std::vector<T> items;
    std::vector<uint32_t> unused;
    uint32_t add(T item);
    void drop(uint32_t i) { unused.push_back(i); }
  };
  struct Free {
    void operator()(Cell* cells) const;
  };

  Bytes& split(Cell& c);
  void clear_readers(Cell& c);
  void visit(Cell& c, int bytes, const Access& now, Finding& f);
  void read(Cell& c, int bytes, const Access& now, Finding& f);
  void write(Cell& c, int bytes, const Access& now, Finding& f);
  static void add_reader(Readers& readers, const Access& now);

  std::unique_ptr<Cell[], Free> cells_;  // zeros by the system, page by page as they are used
  Table<Bytes> split_;
  Table<Readers> readers_;
};

}  // namespace emu
