// Zip archives as NumPy writes them: entries that are stored or deflated (PKWARE's APPNOTE 6.3.10).
#pragma once

#include <string>
#include <utility>
#include <vector>

namespace wengert::run {

using Entries = std::vector<std::pair<std::string, std::string>>;  // names and contents

Entries unzip(const std::string& archive);
std::string zip(const Entries& entries);  // stored

}  // namespace wengert::run
