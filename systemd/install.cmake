# Run by `cmake --install`, which knows the prefix: makes the unit, installs the configuration.
# source, binary: this folder, and its build folder; sbin, etc: under the prefix, or absolute.
cmake_path(ABSOLUTE_PATH sbin BASE_DIRECTORY "${CMAKE_INSTALL_PREFIX}")
if(CMAKE_INSTALL_PREFIX STREQUAL "/usr")
  cmake_path(ABSOLUTE_PATH etc BASE_DIRECTORY "/")
else()
  cmake_path(ABSOLUTE_PATH etc BASE_DIRECTORY "${CMAKE_INSTALL_PREFIX}")
endif()

# The unit stands in the source as it is for /usr; another prefix moves the program and its configuration.
file(READ ${source}/skipalignd.service unit)
string(REPLACE "/usr/sbin/" "${sbin}/" unit "${unit}")
string(REPLACE "/etc/" "${etc}/" unit "${unit}")
file(CONFIGURE OUTPUT ${binary}/skipalignd.service CONTENT "${unit}" @ONLY)

# A configuration that someone has written stays.
if(EXISTS "$ENV{DESTDIR}${etc}/skipalign/skipalignd.yaml")
  message(STATUS "Kept: $ENV{DESTDIR}${etc}/skipalign/skipalignd.yaml")
else()
  file(INSTALL ${source}/skipalignd.yaml DESTINATION "${etc}/skipalign")
endif()
