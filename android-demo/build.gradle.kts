// The Android plugin brings Kotlin; this raises it to the catalog's version.
// https://developer.android.com/build/migrate-to-built-in-kotlin
buildscript {
    dependencies {
        classpath(libs.kotlin.gradle.plugin)
    }
}

plugins {
    alias(libs.plugins.android.application) apply false
}
