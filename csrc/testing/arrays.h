// numpy arrays as raw pointers.
#pragma once

#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <string>

namespace spikeops::testing {

namespace py = pybind11;

template <class T>
T* pointer(const py::array& array) {
  if (!(array.flags() & py::array::c_style)) throw py::value_error("expected a C-contiguous array");
  if (array.itemsize() != py::ssize_t(sizeof(T)))
    throw py::type_error("expected elements of " + std::to_string(sizeof(T)) + " bytes, got " +
                         std::to_string(array.itemsize()));
  return static_cast<T*>(const_cast<void*>(array.data()));
}

}  // namespace spikeops::testing
