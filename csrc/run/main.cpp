// wengert-run: takes the steps of a saved program on arrays from files, without Python.
#include <charconv>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <iostream>
#include <map>
#include <optional>
#include <sstream>

#include "core/error.h"
#include "core/version.h"
#include "kernels/cpu/parallel.h"
#include "program/file.h"
#include "run/arrays.h"

namespace wengert::run {
namespace {

constexpr const char* kHelp = R"(usage: wengert-run PROGRAM [options]

Takes the steps of a program that Python's Captured.save() wrote: one for each batch of the rows of
arrays in files. Without data it shows what the program is called with and keeps.

data, a file or several:
  --data FILE.npz      arrays by the names of the program's arguments, or else in their order
  --npy NAME=FILE      the rows of one argument, from a .npy file
  --raw NAME=FILE      the same as bare little-endian numbers, of the argument's dtype and shape
steps:
  --batch-size N       must be the program's, if given
  --epochs N           how often to go through the rows (1)
  --shuffle            each epoch in a new order
  --seed N             what the orders are drawn from (0), as Python's run(seed=N) draws them
  --drop-last          leave out rows that fill no batch
  --random-seed N      where the program's own random numbers, such as dropout's, start; else they go
                       on from where they were
  --lr X               the learning rate of its optimizers
  --set NAME=X         another of their settings, such as weight_decay, momentum, beta1
  --threads N          to compute with
results:
  --out FILE           parameters and buffers afterwards, as .safetensors
  --save FILE          the program as it is afterwards
  --results FILE       what the steps returned, stacked: .npy of one result, .npz of any
  --print N            show the results that are one number, each N steps
  --help, --version
)";

// What the user asked for wrongly; everything else that goes wrong is an Error.
struct Usage {
  std::string message;
};
template <class... Parts>
[[noreturn]] void wrong(const Parts&... parts) {
  throw Usage{text(parts...)};
}

template <class T>
T number(const std::string& option, const std::string& value) {
  T v{};
  const auto [end, error] = std::from_chars(value.data(), value.data() + value.size(), v);
  if (error != std::errc() || end != value.data() + value.size()) {
    wrong(option, ": '", value, "' is no number that it takes");
  }
  return v;
}
std::pair<std::string, std::string> assignment(const std::string& option,
                                               const std::string& value) {
  const size_t at = value.find('=');
  if (at == std::string::npos || at == 0) wrong(option, ": expected NAME=..., got '", value, "'");
  return {value.substr(0, at), value.substr(at + 1)};
}

struct Options {
  std::string program, data, out, save, results;
  std::vector<std::pair<std::string, std::string>> npy, raw;
  std::vector<std::pair<std::string, double>> settings;
  std::optional<int64_t> batch_size, threads;
  std::optional<uint64_t> random_seed;
  SavedProgram::Batches batches;
  int64_t print = 0;
  bool drop_last = false, version = false, help = false;

  Options(int argc, char** argv) {
    for (int i = 1; i < argc; ++i) {
      const std::string option = argv[i];
      const auto value = [&]() -> std::string {
        if (i + 1 >= argc) wrong(option, " needs a value");
        return argv[++i];
      };
      const auto count = [&](int64_t least) {
        const auto n = number<int64_t>(option, value());
        if (n < least) wrong(option, ": expected at least ", least, ", got ", n);
        return n;
      };
      if (option == "--help" || option == "-h") {
        help = true;
      } else if (option == "--version") {
        version = true;
      } else if (option == "--data") {
        data = value();
      } else if (option == "--npy") {
        npy.push_back(assignment(option, value()));
      } else if (option == "--raw") {
        raw.push_back(assignment(option, value()));
      } else if (option == "--batch-size") {
        batch_size = count(1);
      } else if (option == "--epochs") {
        batches.epochs = count(0);
      } else if (option == "--shuffle") {
        batches.shuffle = true;
      } else if (option == "--seed") {
        batches.seed = number<uint64_t>(option, value());
      } else if (option == "--drop-last") {
        drop_last = true;
      } else if (option == "--random-seed") {
        random_seed = number<uint64_t>(option, value());
      } else if (option == "--lr") {
        settings.emplace_back("lr", number<double>(option, value()));
      } else if (option == "--set") {
        const auto [name, x] = assignment(option, value());
        settings.emplace_back(name, number<double>(option, x));
      } else if (option == "--threads") {
        threads = count(1);
      } else if (option == "--out") {
        out = value();
      } else if (option == "--save") {
        save = value();
      } else if (option == "--results") {
        results = value();
      } else if (option == "--print") {
        print = count(1);
      } else if (option.starts_with("-") || !program.empty()) {
        wrong("'", option, "' is no option");
      } else {
        program = option;
      }
    }
    if (!results.empty() && !results.ends_with(".npy") && !results.ends_with(".npz")) {
      wrong("--results: expected a file .npy or .npz, got '", results, "'");
    }
    if (program.empty() && !help && !version) wrong("which program?");
  }

  bool has_data() const { return !data.empty() || !npy.empty() || !raw.empty(); }
};

void show(const SavedProgram& p) {
  std::cout << "arguments:\n";
  for (const auto& a : p.arguments()) {
    std::cout << "  " << a.name << ": " << name_of(a.dtype) << ' ' << a.sizes << '\n';
  }
  constexpr const char* roles[] = {"parameters", "buffers", "states"};
  for (int role = 0; role < 3; ++role) {
    bool first = true;
    for (const NamedTensor& t : p.tensors()) {
      if (t.role != role) continue;
      if (std::exchange(first, false)) std::cout << roles[role] << ":\n";
      std::cout << "  " << t.name << ": " << name_of(t.tensor.dtype()) << ' ' << t.tensor.sizes()
                << '\n';
    }
  }
  for (size_t g = 0; g < p.groups(); ++g) {
    std::cout << "settings " << g << ":";
    for (const auto& [name, value] : p.settings(g)) std::cout << ' ' << name << '=' << value;
    std::cout << '\n';
  }
}

std::vector<Tensor> data_of(const Options& o, const SavedProgram& p) {
  std::map<std::string, Tensor> by_name;
  std::vector<Tensor> in_order;
  const auto give = [&](const std::string& name, Tensor t) {
    for (const auto& a : p.arguments()) {
      if (a.name != name) continue;
      if (!by_name.emplace(name, std::move(t)).second) wrong("'", name, "' is given twice");
      return true;
    }
    return false;
  };
  if (!o.data.empty()) {
    const Arrays arrays = read_npz(o.data);
    size_t named = 0;
    for (const auto& [name, t] : arrays) named += give(name, t);
    if (named == 0) {
      for (const auto& [name, t] : arrays) in_order.push_back(t);
    }
  }
  for (const auto& [name, path] : o.npy) {
    if (!give(name, read_npy(path))) wrong("the program has no argument '", name, "'");
  }
  for (const auto& [name, path] : o.raw) {
    bool known = false;
    for (const auto& a : p.arguments()) {
      if (a.name != name || a.sizes.empty()) continue;
      Dims row = a.sizes;
      row.erase(0);
      known = give(name, read_raw(path, a.dtype, row));
    }
    if (!known) wrong("the program has no argument '", name, "' that has rows");
  }
  if (by_name.empty()) return in_order;
  std::vector<Tensor> out;
  for (const auto& a : p.arguments()) {
    if (!by_name.contains(a.name)) fail("there is no data for argument '", a.name, "'");
    out.push_back(by_name[a.name]);
  }
  return out;
}

// Of what the steps gave, a line for each `every` of them.
void print_results(const std::vector<Tensor>& results, int64_t every) {
  const int64_t steps = results.empty() ? 0 : results[0].size(0);
  for (int64_t k = every; k <= steps; k += every) {
    std::cout << "step " << k;
    for (const Tensor& r : results) {
      if (r.numel() != steps || !is_floating(r.dtype())) continue;
      visit(r.dtype(), [&]<class T>() { std::cout << ' ' << convert<double>(r.data<T>()[k - 1]); });
    }
    std::cout << '\n';
  }
}

void write_results(const std::string& path, const std::vector<Tensor>& results) {
  if (path.ends_with(".npy")) {
    if (results.size() != 1) {
      fail("the program has ", results.size(), " results; give --results a .npz file");
    }
    return write_npy(path, results[0]);
  }
  Arrays arrays;
  for (size_t i = 0; i < results.size(); ++i) arrays.emplace_back(text("result", i), results[i]);
  write_npz(path, arrays);
}

void run(const Options& o) {
  if (o.threads) set_num_threads(static_cast<int>(*o.threads));
  const auto p = SavedProgram::load(o.program);
  for (const auto& [name, value] : o.settings) p->set(name, value);
  if (o.random_seed) p->seed(*o.random_seed);
  if (o.has_data()) {
    const std::vector<Tensor> data = data_of(o, *p);
    const Dims first = p->arguments().empty() ? Dims{} : p->arguments()[0].sizes;
    if (o.batch_size && (first.empty() || first[0] != *o.batch_size)) {
      fail("the program was captured with arguments of shape ", first, "; batches of ",
           *o.batch_size, " are not for it");
    }
    if (!o.drop_last && !first.empty() && !data.empty() && data[0].dim() > 0 && first[0] > 0 &&
        data[0].size(0) % first[0] != 0) {
      fail(data[0].size(0), " rows are no whole batches of ", first[0],
           "; with --drop-last those left over are left out");
    }
    const std::vector<Tensor> results = p->train(data, o.batches);
    if (o.print) print_results(results, o.print);
    if (!o.results.empty()) write_results(o.results, results);
  } else if (o.out.empty() && o.save.empty()) {
    show(*p);
  } else if (!o.results.empty()) {
    wrong("--results without data");
  }
  if (!o.out.empty()) {
    std::vector<NamedTensor> weights;
    for (const NamedTensor& t : p->tensors()) {
      if (t.role != NamedTensor::State) weights.push_back(t);
    }
    save_safetensors(o.out, weights);
  }
  if (!o.save.empty()) p->save(o.save);
}

}  // namespace
}  // namespace wengert::run

int main(int argc, char** argv) {
  using namespace wengert;
  try {
    const run::Options options(argc, argv);
    if (options.help) {
      std::cout << run::kHelp;
    } else if (options.version) {
      std::cout << "wengert-run " << kVersion << '\n';
    } else {
      run::run(options);
    }
    std::cout.flush();
    return std::cout ? 0 : 1;
  } catch (const run::Usage& u) {
    std::cerr << "wengert-run: " << u.message << "\nwengert-run --help lists the options\n";
    return 2;
  } catch (const Error& e) {
    std::cerr << "wengert-run: " << e.what() << '\n';
  } catch (const std::exception& e) {
    std::cerr << "wengert-run: " << e.what() << '\n';
  }
  return 1;
}
