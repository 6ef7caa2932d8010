// A captured program in a file: written, read again, and run without Python.
//
//   auto program = wengert::SavedProgram::load("step.wgp");
//   std::vector<wengert::Tensor> results = program->run({x, y});
//   program->save("later.wgp");
//
// docs/saved-programs.md shows more, and what stands in the file.
#pragma once

#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/tensor.h"
#include "ops/random.h"

namespace wengert {

class Program;

// A tensor that a program keeps between its steps.
struct NamedTensor {
  enum Role : uint8_t { Parameter, Buffer, State };
  std::string name;
  Role role = State;
  Tensor tensor;
};

// What a program is saved with.
struct ProgramNotes {
  std::vector<NamedTensor> tensors;    // others get names by number
  std::vector<std::string> arguments;  // a name for each
  std::string structure;               // how results are put together: the binding's own
};

// Throws what cannot be in a file, or be written; a file that was there is replaced by a whole one.
void save_program(const std::string& path, Program& program, const ProgramNotes& notes);

class SavedProgram {
 public:
  // Throws Error where the file is damaged, or asks for what this library does not have.
  static std::unique_ptr<SavedProgram> load(const std::string& path);
  ~SavedProgram();
  SavedProgram(const SavedProgram&) = delete;
  SavedProgram& operator=(const SavedProgram&) = delete;

  struct Argument {
    std::string name;
    DType dtype;
    Dims sizes;
  };
  const std::vector<Argument>& arguments() const { return arguments_; }

  // One step. Arguments have the dtypes, sizes and strides with which the program was captured
  // (contiguous ones, as a rule), else it throws.
  std::vector<Tensor> run(std::span<const Tensor> arguments);
  // A step for each batch of the rows of `arrays`, in the order that a seeded DataLoader has, or in
  // their own; what is left over at the end of an epoch is left out. `between` is called after
  // each step and ends the run by returning false. The results of all steps, stacked.
  struct Batches {
    bool shuffle = false;
    int64_t epochs = 1;
    uint64_t seed = 0;
  };
  std::vector<Tensor> train(std::span<const Tensor> arrays, const Batches& batches,
                            const std::function<bool(int64_t)>& between = nullptr);

  // Parameters, buffers and states; write into their memory to change them.
  const std::vector<NamedTensor>& tensors() const { return notes_.tensors; }
  Tensor tensor(std::string_view name) const;  // undefined if there is none

  // Settings of its optimizers' groups, by PyTorch's names (betas are beta1 and beta2).
  size_t groups() const;
  std::vector<std::pair<std::string, double>> settings(size_t group) const;
  void set(size_t group, std::string_view name, double value);
  void set(std::string_view name, double value);  // in every group that has it; one must
  // Where its random numbers start from now on.
  void seed(uint64_t seed);

  void save(const std::string& path) const;

  const std::shared_ptr<Program>& program() const { return program_; }
  const std::string& structure() const { return notes_.structure; }

 private:
  SavedProgram();
  class Settings;

  std::shared_ptr<Program> program_;
  ProgramNotes notes_;
  std::vector<Argument> arguments_;
  std::vector<std::shared_ptr<Settings>> groups_;
  std::vector<std::unique_ptr<Generator>> generators_;
};

// The parameters and buffers as a .safetensors file, in the order of their names.
void save_safetensors(const std::string& path, std::span<const NamedTensor> tensors);

}  // namespace wengert
