// What newer C and C++ libraries have and older ones lack, where headers or compilers use it by themselves: with these definitions in a
// library it loads where torch does (glibc 2.28, libstdc++ of gcc 8), whatever it was built on. Linked with --wrap=exp. All are hidden:
// no other library in the process meets them. csrc/cmake/OldRuntimes.cmake says for what they are; tests/package/test_native_library.py
// reads the versions that the libraries ask for.
#include <cmath>
#include <new>
#include <sstream>
#include <string>

#if defined(__GLIBCXX__) && _GLIBCXX_RELEASE >= 11
namespace std {
void __throw_bad_array_new_length() { throw bad_array_new_length(); }  // GLIBCXX_3.4.29, of every container that allocates
}  // namespace std
asm(".hidden _ZSt28__throw_bad_array_new_lengthv");

// GLIBCXX_3.4.26 and 3.4.29, of the messages in torch's headers.
template std::basic_stringstream<char>::basic_stringstream();
template std::basic_ostringstream<char>::basic_ostringstream();
template std::string std::basic_stringbuf<char>::str() const&;
template std::string std::basic_stringbuf<char>::str() &&;
asm(".hidden _ZNSt7__cxx1118basic_stringstreamIcSt11char_traitsIcESaIcEEC1Ev");
asm(".hidden _ZNSt7__cxx1118basic_stringstreamIcSt11char_traitsIcESaIcEEC2Ev");
asm(".hidden _ZNSt7__cxx1119basic_ostringstreamIcSt11char_traitsIcESaIcEEC1Ev");
asm(".hidden _ZNSt7__cxx1119basic_ostringstreamIcSt11char_traitsIcESaIcEEC2Ev");
asm(".hidden _ZNKRSt7__cxx1115basic_stringbufIcSt11char_traitsIcESaIcEE3strEv");
asm(".hidden _ZNOSt7__cxx1115basic_stringbufIcSt11char_traitsIcESaIcEE3strEv");
#endif

extern "C" {
// GLIBC_2.32, of std::shared_ptr, which counts without atomics where it is not 0: a process with torch has many threads.
__attribute__((visibility("hidden"))) char __libc_single_threaded = 0;

// GLIBC_2.29 is the same function without the old one's errors by matherr.
double spikeops_old_exp(double);
__attribute__((visibility("hidden"))) double __wrap_exp(double x) { return spikeops_old_exp(x); }
}
asm(".symver spikeops_old_exp,exp@GLIBC_2.2.5");
