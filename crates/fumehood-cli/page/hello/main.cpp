#include <algorithm>
#include <iostream>
#include <vector>

int main() {
    std::cout << "Hello from C++.\n";
    std::vector numbers{5, 3, 8, 1};
    std::sort(numbers.begin(), numbers.end());
    for (int number : numbers)
        std::cout << number << '\n';
    std::cerr << "This line went to standard error.\n";
}
